import { createKey } from '../../lib/persistence/cipher.js'
import type { Backend } from './backend.js'

/** The backend with a compressor and a cipher: everything that an application stores there is compressed and encrypted. */
export function sealed(backend: Backend): Backend {
  const env = { COMPRESSOR_TOPIC: 'zlib', CIPHER_KEY: createKey() }
  return {
    ...backend,
    name: `${backend.name}, compressed and encrypted`,
    skip: { ...backend.skip, ...skip },
    async open(options) {
      const opened = await backend.open(options)
      return {
        ...opened,
        factory: (name, given) => opened.factory(name, { ...env, ...given }),
        persistence: (name) => opened.factory(name, env),
      }
    },
  }
}

const skip = {
  'are refused where they are damaged, by name, without what is in them':
    'these are plain states; sealed ones have a case of their own',
}
