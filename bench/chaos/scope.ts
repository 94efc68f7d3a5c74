import type { Test } from 'tap';

/** Owns what was started, and ends it in the reverse order. `test` stands where a test's helpers want their test. */
export type Scope = { test: Test; end(): Promise<void> };

/** A scope of its own. */
export function openScope(): Scope {
  const handlers: (() => unknown)[] = [];
  const owner = { teardown: (handler: () => unknown) => void handlers.push(handler) };
  return {
    test: owner as unknown as Test,
    async end() {
      for (const handler of handlers.reverse()) await handler();
    },
  };
}
