import { register } from 'node:module'

/*
 * Runs a program on another drizzle-orm than the one that is installed by that name:
 * `OTHER_DRIZZLE=drizzle-orm-0.44 node --import <this file, compiled> program.js`. Given in NODE_OPTIONS, with its whole
 * path, it reaches worker threads and child processes too. See `make test-drizzle-0.44`.
 */

const other = process.env.OTHER_DRIZZLE
if (!other) throw new Error('OTHER_DRIZZLE names no package: set it to drizzle-orm-0.44, or to another in node_modules')

// drizzle-kit is a program of its own, which works with the drizzle-orm that it was made for
if (!/[\\/]drizzle-kit[\\/]/.test(process.argv[1] ?? ''))
  register('./other-drizzle-hooks.js', { parentURL: import.meta.url, data: other })
