import type { Logger } from 'pino';
import { buildApp } from './app.js';
import { type Config, ConfigError, loadConfig } from './config.js';
import type { Front } from './http/front.js';
import { createLogger, secretsOfUrl } from './observability/logger.js';
import { type Database, openDatabase } from './persistence/database.js';
import { applyMigrations, pendingMigrations } from './persistence/migrate.js';

/** What a stop has to end: functions that close, last first, and the front of a server that listens. */
type Opened = { closers: (() => Promise<unknown>)[]; front: Front | undefined };

/** The process: configuration, database, migrations, listener, and a stop in that order reversed. Only this file exits. */
async function main(): Promise<void> {
  const config = loadConfig();
  const logger = createLogger(config.logLevel, [
    config.secretKey, ...config.adminApiKeys, ...secretsOfUrl(config.database.url), ...secretsOfUrl(config.database.directUrl),
    ...secretsOfUrl(config.rateLimit.redisUrl),
    ...Object.values(config.tracing?.headers ?? {}),
  ]);
  const opened: Opened = { closers: [], front: undefined };
  // Before anything is opened: as PID 1 of a container, a process without handlers ignores SIGTERM.
  await stopOnSignals(config, logger, opened, (stopping) => start(config, logger, opened, stopping));
}

async function start(config: Config, logger: Logger, opened: Opened, stopping: AbortSignal): Promise<void> {
  const database = await openDatabase(config.database);
  opened.closers.push(() => database.close());
  const facts = { engine: database.engine, ...database.facts };
  if (database.engine === 'embedded') {
    logger.info({ ...facts, dataDir: config.database.dataDir }, 'embedded database: one process only; set DATABASE_URL for more');
  } else {
    logger.info(facts, 'database');
  }
  stopping.throwIfAborted();
  await migrate(config, logger, database, stopping);
  const app = await buildApp({ config, database, logger });
  opened.closers.push(() => app.close());
  try {
    await app.listen({ host: config.host, port: config.port });
    opened.front = app.front;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new Error(code === 'EADDRINUSE' ? `Port ${config.port} on ${config.host} is taken; set PORT to another one.`
      : `It cannot listen on HOST ${config.host}, PORT ${config.port}: ${message}`, { cause: error });
  }
}

async function migrate(config: Config, logger: Logger, database: Database, stopping: AbortSignal): Promise<void> {
  if (config.migrateOnStart) {
    const waiting = (): void => logger.info('waiting for the migration lock: another process is migrating this database');
    const applied = await applyMigrations(database, undefined, { signal: stopping, waiting });
    if (applied.length > 0) logger.info({ applied }, 'migrations applied');
    return;
  }
  const pending = await pendingMigrations(database);
  if (pending.length > 0) throw new Error(`MIGRATE_ON_START=false and migrations are pending: ${pending.join(', ')}. Run npm run db:migrate.`);
}

/**
 * Runs `begin`; from now on a signal or an unowned failure closes what was opened, last first, within SHUTDOWN_TIMEOUT_MS.
 * SIGTERM first leaves load balancers SHUTDOWN_DELAY_MS to turn away: everything is served meanwhile, and each answer ends
 * its connection. A SIGINT cuts that short.
 */
function stopOnSignals(config: Config, logger: Logger, opened: Opened, begin: (stopping: AbortSignal) => Promise<void>): Promise<void> {
  let startup = Promise.resolve();
  let stopping = false;
  let cutShort = (): void => {};
  let exitCode = 0;
  const aborted = new AbortController();
  const stop = async (reason: string, code: number): Promise<void> => {
    exitCode ||= code;
    if (reason !== 'SIGTERM') cutShort();
    if (stopping) return;
    stopping = true;
    aborted.abort(new Error('stopped while it was starting'));
    logger.info({ reason }, 'stopping');
    opened.front?.drain();
    if (opened.front && reason === 'SIGTERM') {
      await new Promise<void>((resolve) => {
        cutShort = resolve;
        setTimeout(resolve, config.shutdownDelayMs);
      });
    }
    setTimeout(() => {
      logger.error('something was still running at SHUTDOWN_TIMEOUT_MS');
      process.exit(1);
    }, config.shutdownTimeoutMs).unref();
    // A start that is under way is let through to its end: half a migration is worse than a late stop.
    await startup.catch(() => {});
    await opened.front?.stopListening();
    for (const close of opened.closers.reverse()) await close();
    logger.info('stopped');
    process.exit(exitCode);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stop(signal, 0));
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      logger.fatal({ err: error }, event);
      void stop(event, 1);
    });
  }
  startup = begin(aborted.signal).catch((error: unknown) => {
    // The stop that is under way ends the process, and says with which code.
    if (!stopping) throw error;
    if (error !== aborted.signal.reason) logger.error({ err: error }, 'the start failed');
  });
  return startup;
}

main().catch((error: unknown) => {
  // For whoever reads the terminal: one plain text, never a stack.
  console.error(error instanceof ConfigError ? error.message : `authkit-gateway did not start: ${(error as Error).message}`);
  process.exit(1);
});
