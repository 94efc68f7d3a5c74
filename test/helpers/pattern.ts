import { randomBytes } from 'node:crypto';
import type { Writable } from 'node:stream';

// A prime number of bytes: no piece of it that was lost, doubled or swapped leaves the rest in its place.
const pattern = randomBytes(65_521);

/** Writes `size` bytes of the pattern as fast as they are taken, then ends the stream. `sent()` tells how far it is. */
export function pour(stream: Writable, size: number): { sent(): number } {
  let sent = 0;
  const write = (): void => {
    for (let more = true; more && sent < size;) {
      const piece = pattern.subarray(0, Math.min(pattern.length, size - sent));
      sent += piece.length;
      more = stream.write(piece);
    }
    if (sent === size) stream.off('drain', write).end();
  };
  // Whoever reads may go away.
  stream.on('drain', write).on('error', () => {});
  write();
  return { sent: () => sent };
}

/** Counts the bytes of a stream, and tells whether they are the pattern's from its start. */
export class PatternReader {
  bytes = 0;
  intact = true;

  take(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      const from = this.bytes % pattern.length;
      const length = Math.min(pattern.length - from, chunk.length - at);
      this.intact &&= pattern.compare(chunk, at, at + length, from, from + length) === 0;
      this.bytes += length;
      at += length;
    }
  }
}
