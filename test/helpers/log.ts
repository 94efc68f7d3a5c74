import type { DestinationStream } from 'pino';
import type { Test } from 'tap';

/** What a logger under test writes. When the test ends, every line is searched for secrets: one hit fails it. */
export type CapturedLog = DestinationStream & { lines: string[] };

/** Forms of everything secret in the tests: keys of ours, upstream secrets, connection keys, the root key. */
const secrets = /ag[ks]_[0-9A-Za-z]{20,}|whsec_[0-9A-Za-z+/]{8,}|eyJ[\w-]+\.[\w-]+\.[\w-]*|sk_(?:test|live)_\w+|(?:test|live)::[\w-]+::|root-key-of-the-tests/;

export function captureLog(t: Test): CapturedLog {
  const lines: string[] = [];
  t.teardown(() => {
    const leak = lines.find((line) => secrets.test(line));
    if (leak) throw new Error(`a secret was logged: ${leak}`);
  });
  return { lines, write: (line) => void lines.push(line) };
}
