import Type, { type TObjectOptions, type TSchema } from 'typebox';

/** `page` and `limit` of a list that is held whole: from page 1, 20 rows unless given, 300 at most. */
export const PageNumbers = {
  page: Type.Integer({ minimum: 1, maximum: 100_000, default: 1 }),
  limit: Type.Integer({ minimum: 1, maximum: 300, default: 20 }),
};

/** What {@link pageOf} answers. */
export const PageOf = <T extends TSchema>(row: T, options: TObjectOptions) =>
  Type.Object({ rows: Type.Array(row), total: Type.Integer(), pages: Type.Integer(), page: Type.Integer() }, options);

/** The given page of all rows; empty past the last one. */
export function pageOf<Row>(all: readonly Row[], { page, limit }: { page: number; limit: number }) {
  return { rows: all.slice((page - 1) * limit, page * limit), total: all.length, pages: Math.ceil(all.length / limit), page };
}
