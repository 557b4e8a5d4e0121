// Opens a file by the driver alone, runs a statement that takes a lock, and holds that until it is told to let go.
import Database from 'better-sqlite3'
import { tell, told } from './parent.js'

const [file = '', ...statements] = process.argv.slice(2)
const client = new Database(file)
for (const statement of statements) client.exec(statement)
await tell('held')
await told()
client.exec('ROLLBACK')
client.close()
process.disconnect()
