import { Problem } from '../errors.js';

/** Where a page ends in a list ordered newest first: the last row's creation time and id. */
export type Position = { createdAt: Date; id: string };

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** An opaque keyset cursor for the page after `position`. */
function encodeCursor({ createdAt, id }: Position): string {
  return Buffer.from(`${createdAt.getTime()}.${id}`).toString('base64url');
}

/** Reads a cursor; undefined stays undefined. 400 `invalid_cursor` for anything {@link encodeCursor} did not make. */
export function decodeCursor(cursor: string | undefined): Position | undefined {
  if (cursor === undefined) return undefined;
  const [time = '', id = ''] = Buffer.from(cursor, 'base64url').toString('latin1').split('.');
  const createdAt = new Date(/^\d{1,15}$/.test(time) ? Number(time) : Number.NaN);
  if (Number.isNaN(createdAt.getTime()) || !uuid.test(id)) {
    throw new Problem('invalid_cursor', 'Use nextCursor exactly as an earlier page gave it.', { errors: [{ field: 'query.cursor', message: 'is not a cursor of this list' }] });
  }
  return { createdAt, id };
}

/** The condition for rows after `position`. Its first half is implied by the second, and lets an index start there. */
export function after(position: Position | undefined) {
  if (!position) return {};
  const { createdAt, id } = position;
  return { createdAt: { lte: createdAt }, OR: [{ createdAt: { lt: createdAt } }, { createdAt, id: { lt: id } }] };
}

/** Newest first; the id breaks ties, so that the order is total. */
export const newestFirst = [{ createdAt: 'desc' as const }, { id: 'desc' as const }];

/** Cuts `limit + 1` rows down to a page and the cursor of the next one (null: this was the last). */
export function page<Row extends Position>(rows: Row[], limit: number): { rows: Row[]; nextCursor: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return { rows: shown, nextCursor: rows.length > limit && last ? encodeCursor(last) : null };
}
