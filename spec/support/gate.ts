/** A promise that is resolved from outside, so that concurrent work meets where a case wants it to. */
export interface Gate {
  /** Resolves once the gate is open. */
  readonly passed: Promise<void>
  open(): void
}

export function gate(): Gate {
  let open!: () => void
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { passed, open }
}
