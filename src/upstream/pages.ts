import Type, { type Static, type TSchema } from 'typebox';
import Value from 'typebox/value';
import type { UpstreamClient } from './client.js';
import { invalidResponse } from './errors.js';

/** A list of the upstream's: what is asked for, and what its rows are. */
export type List<Row extends TSchema> = {
  path: string;
  query?: Record<string, string | undefined>;
  row: Row;
  /** Rows a page may have; the upstream may give fewer. */
  limit: number;
  /** What it is a page of, for the operator. */
  name: string;
  /** Whether 404 says that there is no such list. */
  mayBeMissing?: boolean;
};

const maxPages = 100;
const pagesAtOnce = 3;

/**
 * The rows of all pages; undefined where there is no such list (404). The first page is asked for without `page`, which the
 * open-source server takes for a filter; where an answer names `skip`, that is how it goes on, else by page numbers. How many
 * there are is known only where the upstream says so: then several pages are fetched at once.
 */
export async function allRows<Row extends TSchema>(upstream: Pick<UpstreamClient, 'call'>, list: List<Row>): Promise<Static<Row>[] | undefined> {
  const { path, query = {}, row, limit, name, mayBeMissing = false } = list;
  const Page = Type.Object({
    rows: Type.Array(row), total: Type.Optional(Type.Integer()), pages: Type.Optional(Type.Integer({ minimum: 0 })), skip: Type.Optional(Type.Integer({ minimum: 0 })),
  });
  const ask = async (place: { page?: number; skip?: number }, accept: readonly number[] = []): Promise<Static<typeof Page> | undefined> => {
    const { status, body } = await upstream.call('GET', path, { query: { ...query, limit, ...place }, accept });
    if (accept.includes(status)) return undefined;
    if (!Value.Check(Page, body)) throw invalidResponse(`it is not a page of ${name}`);
    return body;
  };
  const first = await ask({}, mayBeMissing ? [404] : []);
  if (!first) return undefined;
  const rows = first.rows as Static<Row>[];
  const { total = 0, pages, skip } = first;
  if (skip !== undefined) {
    for (let page = 2; page <= maxPages && rows.length < total; page += 1) {
      const { rows: more } = (await ask({ skip: rows.length }))!;
      if (more.length === 0) break;
      rows.push(...more as Static<Row>[]);
    }
    return rows;
  }
  const last = Math.min(maxPages, pages ?? maxPages);
  const atOnce = pages === undefined ? 1 : pagesAtOnce;
  for (let page = 2; page <= last && (pages !== undefined || rows.length < total); page += atOnce) {
    const found = await Promise.all(Array.from({ length: Math.min(atOnce, last - page + 1) }, (_, i) => ask({ page: page + i })));
    const more = found.flatMap((each) => each!.rows as Static<Row>[]);
    if (more.length === 0) break;
    rows.push(...more);
  }
  return rows;
}
