import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { NodeFS } from '@electric-sql/pglite/nodefs';
import { DriverAdapterError } from '@prisma/driver-adapter-utils';
import { PrismaPGlite } from 'pglite-prisma-adapter';
import { type HeldDirectory, holdDirectory } from './data-directory.js';
import type { Database } from './database.js';
import { PrismaClient } from './generated/client.js';
import { createProcessLocks } from './locks.js';
import { localInvalidations } from './invalidations.js';

/**
 * Opens PGlite in `dataDir` (undefined: in memory). Two processes on one directory would corrupt it, so it is held: rejects
 * with a plain sentence when another process has it, or it cannot be written or closed to other users. A process that loses
 * the directory refuses every query from then on, and ends by an uncaught {@link DirectoryLostError}.
 */
export async function openEmbedded(dataDir: string | undefined): Promise<Database> {
  if (dataDir === undefined) return openPGlite(undefined, undefined);
  const directory = await holdDirectory(dataDir, (error) => {
    setImmediate(() => {
      throw error;
    });
  });
  try {
    return await openPGlite(new PrivateFiles(join(dataDir, 'pglite')), directory);
  } catch (error) {
    await directory.release();
    throw error;
  }
}

// PGlite reserves 160 MiB for shared buffers, of one user's small database; the operating system caches its files as well.
const settings = ['-c', 'shared_buffers=16MB'];

async function openPGlite(files: NodeFS | undefined, directory: HeldDirectory | undefined): Promise<Database> {
  const pglite = await PGlite.create({ ...(files ? { fs: files } : { dataDir: 'memory://' }), startParams: [...PGlite.defaultStartParams, ...settings] });
  // As every session on Postgres: see session.ts.
  await pglite.exec("SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO'");
  const { rows: [row] } = await pglite.query<{ version: string }>("SELECT current_setting('server_version') AS version");
  return embeddedDatabase(pglite, directory, row?.version);
}

type EmscriptenModule = { NODEFS: { node_ops: {
  mknod(parent: unknown, name: string, mode: number, device: number): unknown;
  setattr(node: unknown, attributes: { mode?: number }): void;
} } };

/** A directory on disk whose files are this user's alone: Emscripten sets the mode that Postgres asks for, past the umask. */
class PrivateFiles extends NodeFS {
  override async init(...[pglite, options]: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const { emscriptenOpts } = await super.init(pglite, options);
    const closeToOthers = (module: unknown): void => {
      const operations = (module as EmscriptenModule).NODEFS.node_ops;
      const { mknod, setattr } = operations;
      operations.mknod = (parent, name, mode, device) => mknod(parent, name, mode & ~0o077, device);
      operations.setattr = (node, attributes) => setattr(node, attributes.mode === undefined ? attributes : { ...attributes, mode: attributes.mode & ~0o077 });
    };
    return { emscriptenOpts: { ...emscriptenOpts, preRun: [closeToOthers, ...(emscriptenOpts.preRun ?? [])] } };
  }
}

/** Wraps an open PGlite; `directory` is released after it is closed. */
export function embeddedDatabase(pglite: PGlite, directory?: HeldDirectory, version = 'unknown'): Database {
  if (directory) refuseWhenLost(pglite, directory);
  const adapter = migrationSafe(new PrismaPGlite(pglite), pglite);
  const prisma = new PrismaClient({ adapter, errorFormat: 'minimal' });
  return {
    engine: 'embedded',
    facts: { version: `PGlite ${version}`, zone: 'UTC', encoding: 'UTF8', schema: 'public', pooler: 'none' },
    prisma,
    adapter,
    invalidations: localInvalidations(),
    exclusively: (_lock, work) => work(),
    tryLock: createProcessLocks(),
    createSchema: async () => {},
    ping: async () => void (await pglite.query('SELECT 1')),
    close: async () => {
      await prisma.$disconnect();
      // Closing writes a checkpoint: into files that may be another process's by now.
      if (directory?.holds() ?? true) await pglite.close();
      await directory?.release();
    },
  };
}

/**
 * The adapter fires migration scripts without waiting for them, so that a failing one would count as applied and end the
 * process later: wait, and report.
 */
function migrationSafe(factory: PrismaPGlite, pglite: PGlite): PrismaPGlite {
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const adapter = await connect();
    adapter.executeScript = async (script) => void (await pglite.exec(script));
    return adapter;
  };
  return factory;
}

/**
 * Lets no query through once the directory is lost, and acknowledges none during which it was lost. Everything PGlite does
 * passes this one method.
 */
function refuseWhenLost(pglite: PGlite, directory: HeldDirectory): void {
  const execute = pglite.execProtocolRawSync.bind(pglite);
  pglite.execProtocolRawSync = (message) => {
    assertHeld(directory);
    const answer = execute(message);
    assertHeld(directory);
    return answer;
  };
}

function assertHeld(directory: HeldDirectory): void {
  // As Prisma's adapters name a session that is gone, so that it is answered like one.
  if (!directory.holds()) throw new DriverAdapterError({ kind: 'ConnectionClosed' });
}
