import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { type Database, Prisma } from './database.js';

/** Rows copied, by table. */
export type Copied = Record<string, number>;

/** A file that is no whole export, or a place that an export cannot go to; the message is one plain sentence. */
export class CopyError extends Error {}

type Transaction = Pick<Database['prisma'], '$queryRaw' | '$executeRaw'>;
type Header = { format: string; exportedAt: string; migrations: string[]; tables: Record<string, string[]> };

const format = 'authkit-gateway export 1';
// How far a comparison with the vault is: the next one begins anew.
const leftOut = ['_prisma_migrations', 'reconciler_progress'];
const rowsAtOnce = 500;
const transaction = { timeout: 3_600_000, maxWait: 60_000 };

/**
 * Writes every row of the database to `file`, as of one moment: gzipped lines, a header, then `{table}\t{row as JSON}` for
 * each row, then their number. The file holds connection keys, digests of credentials and signing secrets: only this user
 * may read it. Rejects with a {@link CopyError} when it is there already, and removes it when the export fails.
 */
export async function exportDatabase(database: Database, file: string): Promise<Copied> {
  const copied: Copied = {};
  const handle = await open(file, 'wx', 0o600).catch((cause: { code?: string }) => {
    throw cause.code === 'EEXIST' ? new CopyError(`${file} is there already: an export overwrites nothing.`, { cause }) : cause;
  });
  try {
    await database.prisma.$transaction(
      (tx) => pipeline(Readable.from(linesOf(tx, copied)), createGzip(), handle.createWriteStream()), { ...transaction, isolationLevel: 'RepeatableRead' },
    );
    return copied;
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
}

/**
 * Reads an export into an empty database whose migrations are applied, in one transaction: all of it or nothing. Rejects
 * with a {@link CopyError} when the file is no whole export, is of a later version than the database, or the database has rows.
 */
export function importDatabase(database: Database, file: string): Promise<Copied> {
  return database.prisma.$transaction((tx) => readInto(tx, file), transaction);
}

async function* linesOf(tx: Transaction, copied: Copied): AsyncGenerator<string> {
  const tables = await tablesOf(tx);
  const header: Header = { format, exportedAt: new Date().toISOString(), migrations: await migrationsOf(tx), tables: Object.fromEntries(tables) };
  yield `${JSON.stringify(header)}\n`;
  for (const [table] of tables) {
    copied[table] = 0;
    // Rows stay text: a number in them may be larger than JavaScript's are exact.
    await tx.$executeRaw`DECLARE export_rows CURSOR FOR SELECT row_to_json(t)::text AS row FROM ${Prisma.raw(quote(table))} t`;
    for (;;) {
      const rows = await tx.$queryRaw<{ row: string }[]>`FETCH ${Prisma.raw(String(rowsAtOnce))} FROM export_rows`;
      if (rows.length === 0) break;
      copied[table] += rows.length;
      yield rows.map(({ row }) => `${table}\t${row}\n`).join('');
    }
    await tx.$executeRaw`CLOSE export_rows`;
  }
  yield `${JSON.stringify({ end: copied })}\n`;
}

async function readInto(tx: Transaction, file: string): Promise<Copied> {
  const lines = linesIn(file);
  const header = await readHeader(lines, file);
  const tables = await prepare(tx, header, file);
  const copied: Copied = Object.fromEntries(tables.map(([table]) => [table, 0]));
  let pending: { table: string; rows: string[] } = { table: '', rows: [] };
  const flush = async (): Promise<void> => {
    const { table, rows } = pending;
    pending = { table: '', rows: [] };
    if (rows.length === 0) return;
    const columns = Prisma.raw(header.tables[table]!.map(quote).join(', '));
    const target = Prisma.raw(quote(table));
    copied[table]! += await tx.$executeRaw`
      INSERT INTO ${target} (${columns}) SELECT ${columns} FROM json_populate_recordset(NULL::${target}, ${`[${rows.join(',')}]`}::json)`;
  };
  for await (const line of lines) {
    const tab = line.indexOf('\t');
    if (tab < 0) {
      await flush();
      const { end } = parse(line) as { end?: Copied };
      if (!end || Object.keys(copied).some((table) => copied[table] !== (end[table] ?? 0))) break;
      await advanceSequences(tx);
      return copied;
    }
    const table = line.slice(0, tab);
    if (!(table in copied)) throw new CopyError(`${file} has rows of a table that is not in its header: ${table}.`);
    if (table !== pending.table || pending.rows.length >= rowsAtOnce) {
      await flush();
      pending = { table, rows: [] };
    }
    pending.rows.push(line.slice(tab + 1));
  }
  throw new CopyError(`${file} is not whole: rows are missing at its end. Nothing was imported.`);
}

async function readHeader(lines: AsyncGenerator<string>, file: string): Promise<Header> {
  const { value } = await lines.next().catch((cause: Error & { code?: string }) => {
    throw new CopyError(cause.code === 'ENOENT' ? `${file} is not there.` : `${file} cannot be read as an export: ${cause.message}`, { cause });
  });
  const header = parse(String(value)) as Partial<Header>;
  if (header.format !== format || !header.migrations || !header.tables) throw new CopyError(`${file} is no export of this gateway.`);
  return header as Header;
}

/** Checks that the file fits the database; returns its tables, those first that others refer to. */
async function prepare(tx: Transaction, header: Header, file: string): Promise<[string, string[]][]> {
  const applied = new Set(await migrationsOf(tx));
  const unknown = header.migrations.filter((name) => !applied.has(name));
  if (unknown.length > 0) throw new CopyError(`${file} is of a later version than this database, which has not had: ${unknown.join(', ')}.`);
  const own = await tablesOf(tx);
  for (const [table] of own) {
    const [row] = await tx.$queryRaw<unknown[]>`SELECT 1 FROM ${Prisma.raw(quote(table))} LIMIT 1`;
    if (row) throw new CopyError(`The database is not empty (${table} has rows): an import overwrites nothing.`);
  }
  for (const [table, columns] of Object.entries(header.tables)) {
    const missing = columns.filter((column) => !own.find(([name]) => name === table)?.[1].includes(column));
    if (missing.length > 0) throw new CopyError(`${file} has what this database has no place for: ${table} (${missing.join(', ')}).`);
  }
  return own.filter(([table]) => table in header.tables);
}

/** The tables with their columns, those first that others refer to. */
async function tablesOf(tx: Transaction): Promise<[string, string[]][]> {
  const columns = await tx.$queryRaw<{ table: string; columns: string[] }[]>`
    SELECT table_name::text AS table, array_agg(column_name::text ORDER BY ordinal_position) AS columns FROM information_schema.columns
    JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name <> ALL (${leftOut}) GROUP BY table_name ORDER BY table_name`;
  const references = await tx.$queryRaw<{ table: string; target: string }[]>`
    SELECT f.relname::text AS table, t.relname::text AS target FROM pg_constraint c JOIN pg_class f ON f.oid = c.conrelid JOIN pg_class t ON t.oid = c.confrelid
    WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace AND c.conrelid <> c.confrelid`;
  const ordered: [string, string[]][] = [];
  while (ordered.length < columns.length) {
    const placed = new Set(ordered.map(([table]) => table));
    const next = columns.filter(({ table }) => !placed.has(table) && references.every((each) => each.table !== table || placed.has(each.target)));
    if (next.length === 0) throw new Error('tables refer to each other in a circle');
    ordered.push(...next.map((each): [string, string[]] => [each.table, each.columns]));
  }
  return ordered;
}

async function migrationsOf(tx: Transaction): Promise<string[]> {
  const rows = await tx.$queryRaw<{ name: string }[]>`SELECT migration_name AS name FROM _prisma_migrations WHERE finished_at IS NOT NULL ORDER BY migration_name`;
  return rows.map(({ name }) => name);
}

/** Lets every sequence go on after the largest number that was imported. */
async function advanceSequences(tx: Transaction): Promise<void> {
  const owned = await tx.$queryRaw<{ table: string; column: string }[]>`
    SELECT table_name::text AS table, column_name::text AS column FROM information_schema.columns
    WHERE table_schema = current_schema() AND column_default LIKE 'nextval(%'`;
  for (const { table, column } of owned) {
    await tx.$queryRaw`
      SELECT setval(pg_get_serial_sequence(${quote(table)}, ${column}), (SELECT coalesce(max(${Prisma.raw(quote(column))}), 0) + 1 FROM ${Prisma.raw(quote(table))}), false)`;
  }
}

async function* linesIn(file: string): AsyncGenerator<string> {
  const input = createReadStream(file);
  const text = createGunzip();
  input.on('error', (error) => text.destroy(error)).pipe(text);
  let rest = '';
  for await (const chunk of text.setEncoding('utf8')) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
}

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

function parse(text: string): unknown {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
