import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { bindMigrationAwareSqlAdapterFactory, type SqlDriverAdapter, type SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils';
import * as bindings from '@prisma/schema-engine-wasm/schema_engine_bg';
import type { SchemaEngine } from '@prisma/schema-engine-wasm/schema_engine_bg';

export type { SchemaEngine } from '@prisma/schema-engine-wasm/schema_engine_bg';

let ready: Promise<void> | undefined;

/**
 * Prisma's own migration engine in its WebAssembly form, talking to the database through a driver adapter: no binary is
 * downloaded and none is shipped. Lends it to `work`; a failure that came from the database rejects with the database's
 * own words.
 */
export async function withMigrationEngine<T>(adapter: SqlMigrationAwareDriverAdapterFactory, schema: string, work: (engine: SchemaEngine) => Promise<T>): Promise<T> {
  ready ??= instantiate();
  await ready;
  const opened: SqlDriverAdapter[] = [];
  const bound = bindMigrationAwareSqlAdapterFactory(rememberConnections(adapter, opened));
  const engine = await bindings.SchemaEngine.new({ datamodels: [['schema.prisma', schema]] }, () => {}, bound);
  try {
    return await work(engine);
  } catch (error) {
    // The engine only sees that the adapter failed, and says under which number.
    const id = /External error id#(\d+)/.exec(String(error))?.[1];
    const original = id === undefined ? undefined : bound.errorRegistry.consumeError(Number(id))?.error;
    const migration = /migration_name="([^"]+)"/.exec(String(error))?.[1];
    throw new Error(`${migration ? `migration ${migration}: ` : ''}${original instanceof Error ? original.message : withoutTrace(error)}`, { cause: original ?? error });
  } finally {
    engine.free();
    // The engine takes an advisory lock that only the end of its session frees: left open, it keeps other replicas from starting.
    await Promise.all(opened.map((connection) => connection.dispose()));
  }
}

function rememberConnections(factory: SqlMigrationAwareDriverAdapterFactory, opened: SqlDriverAdapter[]): SqlMigrationAwareDriverAdapterFactory {
  return {
    provider: factory.provider,
    adapterName: factory.adapterName,
    async connect() {
      const connection = await factory.connect();
      opened.push(connection);
      return connection;
    },
    connectToShadowDb: () => factory.connectToShadowDb(),
  };
}

/** The engine's own words, without the back-trace of its Rust code that it adds. */
function withoutTrace(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/\n\s+0: [\s\S]*$/, '').replace(/^(?:Error: )?ERROR: /, '').trim();
}

async function instantiate(): Promise<void> {
  const path = createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg').replace(/\.js$/, '.wasm');
  const { instance } = await WebAssembly.instantiate(await readFile(path), { './schema_engine_bg.js': bindings as unknown as WebAssembly.ModuleImports });
  const glue = bindings as unknown as { __wbg_set_wasm(exports: WebAssembly.Exports): void };
  glue.__wbg_set_wasm(instance.exports);
  (instance.exports['__wbindgen_start'] as () => void)();
}
