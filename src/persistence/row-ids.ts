import { randomBytes, randomInt } from 'node:crypto';

/**
 * Makes ids for rows that are inserted in one statement: UUIDs of version 7 (RFC 9562 §5.7), as Prisma gives single rows,
 * each greater than the one before, so that rows of one instant keep the order in which their ids were made.
 */
export function createRowIds(): (at: Date) => string {
  let milliseconds = 0;
  let counter = 0;
  return (at) => {
    counter += 1;
    if (at.getTime() > milliseconds) {
      milliseconds = at.getTime();
      counter = randomInt(0x800);
    } else if (counter > 0xfff) {
      milliseconds += 1;
      counter = 0;
    }
    const bytes = Buffer.alloc(16);
    bytes.writeUIntBE(milliseconds, 0, 6);
    bytes.writeUInt16BE(0x7000 | counter, 6);
    randomBytes(8).copy(bytes, 8);
    bytes[8] = (bytes[8]! & 0x3f) | 0x80;
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  };
}
