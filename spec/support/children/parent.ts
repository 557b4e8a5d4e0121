/** Sends the parent a message; resolves once it is on its way. */
export function tell(message: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(message, (error: Error | null) => (error ? reject(error) : resolve()))
  })
}

/** Resolves at the parent's next message. */
export function told(): Promise<unknown> {
  return new Promise((resolve) => process.once('message', resolve))
}
