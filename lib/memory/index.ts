export * from './datastore.js'
export * from './factory.js'
export * from './recorders.js'
