/** What the driver adapter says in the `cause` of its errors; Prisma puts those under `meta`, or lets them through (COMMIT). */
type AdapterCause = { originalCode?: string; code?: string; kind?: string };
type AdapterError = { name?: string; cause?: AdapterCause };

/** Errors of which is known that they came from a session with Postgres; their codes (ECONNRESET …) are no proof of it. */
const fromSessions = new WeakSet<object>();

/** Notes that `error` came from a session with Postgres, and is not an answer of its server. */
export function fromSession<E>(error: E): E {
  if (typeof error === 'object' && error !== null) fromSessions.add(error);
  return error;
}

/**
 * Whether `error` says that the database cannot be used right now: away, restarting, full, read-only, too slow, or refusing
 * us. Takes what Prisma, its driver adapter, pg and pg-pool reject with.
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  if (fromSessions.has(error)) return true;
  const { code, message, meta, severity, name } = error as { code?: unknown; message?: unknown; meta?: { driverAdapterError?: AdapterError }; severity?: unknown; name?: unknown };
  const cause = name === 'DriverAdapterError' ? (error as AdapterError).cause : meta?.driverAdapterError?.cause;
  if (typeof code === 'string' && prismaCodes.test(code)) return true;
  if (cause && (sqlStates.test(cause.originalCode ?? cause.code ?? '') || kinds.has(cause.kind ?? ''))) return true;
  // Only an error that a server sent has a severity.
  if (typeof severity === 'string' && typeof code === 'string') return sqlStates.test(code);
  return typeof message === 'string' && driverMessages.has(message);
}

// Connection errors (P1xxx), the pool's time-out, and a transaction that could not begin or go on.
const prismaCodes = /^(?:P10\d\d|P2024|P2028)$/;

// 08 connection, 25006 read-only, 28 and 3D refused, 53 full, 55000 closed to connections, 57014 took too long, 57P stopping or starting, 58 its disk.
const sqlStates = /^(?:08|25006|28|3D|53|55000|57014|57P|58)/;

// @prisma/adapter-pg's names for what has no SQLSTATE.
const kinds = new Set([
  'DatabaseNotReachable', 'ConnectionClosed', 'SocketTimeout', 'TlsConnectionError', 'TooManyConnections', 'DatabaseDoesNotExist', 'DatabaseAccessDenied',
  'AuthenticationFailed',
]);

// pg and pg-pool say these with no code.
const driverMessages = new Set([
  'Connection terminated', 'Connection terminated unexpectedly', 'Connection terminated due to connection timeout', 'timeout expired',
  'timeout exceeded when trying to connect', 'Query read timeout', 'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable', 'Cannot use a pool after calling end on the pool',
]);
