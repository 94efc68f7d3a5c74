import { type DestinationStream, pino } from 'pino';

const batchBytes = 64 * 1024;

/**
 * Standard output, written to in batches: one system call per line was a tenth of a proxied request. Lines are copied at
 * once: as strings they would outlive their request and be the collector's main work. A line is at most 100 ms late; what
 * waits is written when the process ends.
 */
export function standardOutput(): DestinationStream & { flushSync(): void } {
  const output = pino.destination({ dest: 1, sync: false, contentMode: 'buffer' });
  let batch = Buffer.allocUnsafeSlow(batchBytes);
  let used = 0;
  const flush = (): void => {
    if (used === 0) return;
    output.write(batch.subarray(0, used) as unknown as string);
    batch = Buffer.allocUnsafeSlow(batchBytes);
    used = 0;
  };
  const flushSync = (): void => {
    flush();
    output.flushSync();
  };
  setInterval(flush, 100).unref();
  process.prependListener('beforeExit', flush);
  process.prependListener('exit', flushSync);
  return {
    write(line) {
      // No character takes more than three bytes for each of its UTF-16 units.
      if (used + line.length * 3 > batchBytes) flush();
      if (line.length * 3 > batchBytes) output.write(Buffer.from(line) as unknown as string);
      else used += batch.write(line, used);
    },
    flushSync,
  };
}
