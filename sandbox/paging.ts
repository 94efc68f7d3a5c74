/** A query as Fastify parses it: a repeated key gives an array, of which the upstream keeps the last. */
export type Query = Record<string, string | string[] | undefined>;

/** A page of rows as Pica's lists answer. */
export interface Page<Row> {
  rows: Row[];
  total: number;
  pages: number;
  page: number;
  limit: number;
}

/** One value of a query parameter, or undefined when absent or empty. */
export function param(query: Query, name: string): string | undefined {
  const value = query[name];
  return (Array.isArray(value) ? value.at(-1) : value) || undefined;
}

/** A comma list as its non-empty members, or undefined when the parameter is absent. */
export function listParam(query: Query, name: string): string[] | undefined {
  return param(query, name)
    ?.split(',')
    .map((member) => member.trim())
    .filter(Boolean);
}

function positive(value: string | undefined, fallback: number): number {
  const number = Number(value);
  return Number.isInteger(number) && number > 0 ? number : fallback;
}

/** The page `?limit=&page=` asks for; nonsense falls back to the defaults, and `limit` is clamped to `max`. */
export function paginate<Row>(all: readonly Row[], query: Query, options: { limit: number; max: number }): Page<Row> {
  const limit = Math.min(positive(param(query, 'limit'), options.limit), options.max);
  const page = positive(param(query, 'page'), 1);
  const rows = all.slice((page - 1) * limit, page * limit);
  return { rows, total: all.length, pages: Math.ceil(all.length / limit), page, limit };
}

/** What `?limit=&skip=` asks for, as the open-source server answers it. */
export function skipTo<Row>(all: readonly Row[], query: Query, options: { limit: number; max: number }): { rows: Row[]; total: number; skip: number; limit: number } {
  const limit = Math.min(positive(param(query, 'limit'), options.limit), options.max);
  const skip = positive(param(query, 'skip'), 0);
  return { rows: all.slice(skip, skip + limit), total: all.length, skip, limit };
}
