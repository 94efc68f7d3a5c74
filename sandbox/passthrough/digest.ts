import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';

/** What is kept of a body. */
export interface Digest {
  sha256: string;
  length: number;
  /** The first `keep` bytes. */
  kept: Buffer;
}

/** Reads a stream to its end without holding more than `keep` bytes of it. */
export async function digest(stream: Readable, keep: number): Promise<Digest> {
  const hash = createHash('sha256');
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    if (length < keep) chunks.push(chunk.subarray(0, keep - length));
    length += chunk.length;
  }
  return { sha256: hash.digest('hex'), length, kept: Buffer.concat(chunks) };
}
