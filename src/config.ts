import { existsSync } from 'node:fs';
import envSchema from 'env-schema';
import ipaddr from 'ipaddr.js';
import Type, { type Static, type TObject } from 'typebox';
import { isOrigin } from './origin.js';
import { parseOtlpHeaders } from './otlp-headers.js';
import { parsePostgresUrl } from './persistence/postgres-url.js';
import { rootKeyProblem, rootKeys } from './root-keys.js';
import { OneOf } from './schemas.js';

const day = 86_400_000;

const milliseconds = (fallback: number, description: string, minimum = 1) =>
  Type.Integer({ default: fallback, minimum, maximum: day, description });

/**
 * The environment, as a schema: every variable the gateway reads, with its default and meaning. `.env.example` names the
 * same ones (a test compares them). Secrets have no defaults.
 */
export const EnvironmentSchema = Type.Object({
  HOST: Type.String({ default: '127.0.0.1', minLength: 1, description: 'Address to listen on.' }),
  PORT: Type.Integer({ default: 3000, minimum: 0, maximum: 65535, description: 'Port to listen on; 0 takes a free one.' }),
  DATABASE_URL: Type.Optional(Type.String({
    pattern: '^postgres(ql)?://', description: 'Postgres. Unset: the embedded database in DATA_DIR, for one process only.',
  })),
  DATABASE_DIRECT_URL: Type.Optional(Type.String({
    pattern: '^postgres(ql)?://',
    description: 'Beside a transaction pooler in DATABASE_URL: the server itself, for LISTEN, locks and migrations.',
  })),
  DATABASE_POOL_SIZE: Type.Integer({ default: 10, minimum: 1, maximum: 1000, description: 'Connections to Postgres at most.' }),
  DATA_DIR: Type.String({ default: './data', minLength: 1, description: 'Directory of the embedded database.' }),
  MIGRATE_ON_START: Type.Boolean({
    default: true, description: 'Apply pending migrations at start; false refuses to start while any is pending.',
  }),
  PICA_SECRET_KEY: Type.String({
    pattern: '^sk_(test|live)_[\\x21-\\x7e]+$', description: 'The upstream secret, sk_test_… or sk_live_….',
  }),
  PICA_BASE_URL: Type.String({ default: 'https://api.picaos.com', pattern: '^https?://', description: 'The upstream root.' }),
  PICA_HEADER_PREFIX: OneOf(['x-pica', 'x-one'], {
    default: 'x-pica', description: 'Prefix of the upstream\'s own headers: x-pica, or x-one after the rename.',
  }),
  AUTHKIT_TOKEN_SOURCE: OneOf(['sdk', 'http', 'one'], {
    default: 'sdk', description: 'Who issues AuthKit tokens: sdk = @picahq/authkit-node; http = the authkit protocol; one = One\'s protocol.',
  }),
  ADMIN_API_KEY: Type.String({
    pattern: '^[\\x21-\\x7e]+(?:, *[\\x21-\\x7e]+)?$',
    description: 'The root key: every scope. At least 32 random characters; while it is rotated two keys, comma-separated.',
  }),
  CONNECTION_VERIFICATION: OneOf(['always', 'browser', 'off'], {
    default: 'always',
    description: 'Whose claims of a connection are checked against the vault: always = everybody\'s; browser = only what browsers send; off = nobody\'s.',
  }),
  AUTH_JWKS_URL: Type.Optional(Type.String({
    pattern: '^https?://', description: 'Public keys of your identity provider, whose JWTs browsers may then present. https; needs the next two.',
  })),
  AUTH_JWT_ISSUER: Type.Optional(Type.String({ minLength: 1, description: 'The iss its JWTs must carry.' })),
  AUTH_JWT_AUDIENCE: Type.Optional(Type.String({ minLength: 1, description: 'The aud its JWTs must carry.' })),
  AUTH_JWT_IDENTITY_CLAIM: Type.String({ default: 'sub', minLength: 1, description: 'The claim that names the identity.' }),
  AUTH_JWT_IDENTITY_TYPE_CLAIM: Type.Optional(Type.String({
    minLength: 1, description: 'The claim that names the identity\'s type; unset, or absent from a JWT: user.',
  })),
  CORS_ORIGINS: Type.String({ default: '*', minLength: 1, description: 'Comma list of origins the browser routes answer.' }),
  UPSTREAM_TIMEOUT_MS: milliseconds(10_000, 'Deadline of one upstream call made for our own routes.'),
  PROXY_TIMEOUT_MS: milliseconds(30_000, 'Time to response headers, and between body chunks, on /proxy.'),
  PROXY_MAX_BODY_BYTES: Type.Integer({ default: 104_857_600, minimum: 1, description: 'Largest request body on /proxy.' }),
  PROXY_MAX_IN_FLIGHT: Type.Integer({ default: 1024, minimum: 1, maximum: 65_536, description: 'Calls on /proxy at once; more are answered 503. Those older than a minute count apart.' }),
  PROXY_MAX_DURATION_MS: Type.Optional(Type.Integer({ minimum: 1, maximum: day, description: 'Longest life of one call on /proxy, its answer included; unset: no limit.' })),
  RATE_LIMIT_PER_MINUTE: Type.Integer({ default: 0, minimum: 0, description: 'Requests a minute of one key, and of one identity; 0: no limit.' }),
  BROWSER_RATE_LIMIT_PER_MINUTE: Type.Integer({
    default: 300, minimum: 0, description: 'Requests a minute that sessions and JWTs of one identity make together; 0: no limit.',
  }),
  AUTH_FAILURES_PER_MINUTE: Type.Integer({
    default: 100, minimum: 0, description: 'Unknown keys and sessions a minute from one address; more are 429 without a look-up. 0: no limit.',
  }),
  TRUSTED_PROXIES: Type.Optional(Type.String({
    minLength: 1, description: 'Comma list of addresses and CIDR ranges whose x-forwarded-for names the client.',
  })),
  REDIS_URL: Type.Optional(Type.String({
    pattern: '^rediss?://(?:[^%]|%[0-9A-Fa-f]{2})+$', description: 'Redis, to count rate limits over all replicas; percent-encoded. Unset: each counts for itself.',
  })),
  ACTION_RESOLUTION: OneOf(['auto', 'off'], {
    default: 'auto', description: 'Whether native paths on /proxy are resolved to the upstream\'s actions: auto, or off for the guide\'s form.',
  }),
  INTEGRATIONS_TTL_MS: milliseconds(300_000, 'How long the cached catalogues of integrations and actions count as fresh.'),
  RECONCILE_INTERVAL_MS: milliseconds(300_000, 'How often a comparison of everything with the upstream\'s vault begins, the last one having ended; 0 = never.', 0),
  RECONCILE_RATE_SHARE: Type.Number({
    default: 0.2, exclusiveMinimum: 0, maximum: 1, description: 'Largest part of the upstream\'s rate limit that comparing may use.',
  }),
  WEBHOOK_ALLOW_PRIVATE: Type.Boolean({
    default: false, description: 'Let webhooks go to private, link-local and loopback addresses, and to loopback without TLS.',
  }),
  WEBHOOK_RETENTION_DAYS: Type.Integer({ default: 30, minimum: 1, maximum: 3_650, description: 'How many days webhook events are kept, with their deliveries.' }),
  MAX_CONNECTIONS: Type.Integer({ default: 10_000, minimum: 1, maximum: 1_000_000, description: 'Client connections at once.' }),
  SHUTDOWN_DELAY_MS: milliseconds(2_000, 'After SIGTERM: how long readiness fails while everything is still served. SIGINT skips it.', 0),
  SHUTDOWN_TIMEOUT_MS: milliseconds(10_000, 'How long a stop waits for requests in flight.'),
  LOG_LEVEL: OneOf(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], { default: 'info', description: 'pino level.' }),
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(Type.String({
    pattern: '^https?://', description: 'OpenTelemetry collector (OTLP over HTTP) that traces go to; unset: no traces.',
  })),
  OTEL_EXPORTER_OTLP_HEADERS: Type.Optional(Type.String({ description: 'What the collector asks for, as name=value,…, percent-encoded; secret.' })),
  OTEL_SERVICE_NAME: Type.String({ default: 'authkit-gateway', minLength: 1, description: 'The name that traces carry.' }),
  DEMO: Type.Boolean({ default: false, description: 'Serve the page at /demo, which hands out keys: development only.' }),
  DEMO_WIDGET_URL: Type.Optional(Type.String({
    pattern: '^https?://', description: 'Where the demo\'s widget lives; unset: the hosted one.',
  })),
});

const DatabaseSchema = Type.Pick(EnvironmentSchema, ['DATABASE_URL', 'DATABASE_DIRECT_URL', 'DATABASE_POOL_SIZE', 'DATA_DIR', 'MIGRATE_ON_START']);

type Environment = Static<typeof EnvironmentSchema>;

/** An identity provider: where its keys are, what its JWTs must carry, and which claims name the identity. */
export type JwtSettings = Readonly<{
  jwksUrl: string;
  issuer: string;
  audience: string;
  identityClaim: string;
  identityTypeClaim: string | undefined;
}>;

/** A collector: root of its address, the headers it asks for (secret), and the name that traces carry. */
export type TracingSettings = Readonly<{ endpoint: string; headers: Readonly<Record<string, string>>; serviceName: string }>;

/** The part of the {@link Config} that says where the data is, and whether a start brings it up to date. */
export type DatabaseConfig = Pick<Config, 'database' | 'migrateOnStart'>;

/** Settings of the process, frozen. Durations are milliseconds, sizes bytes. */
export type Config = Readonly<{
  host: string;
  port: number;
  database: Readonly<{ url: string | undefined; directUrl: string | undefined; poolSize: number; dataDir: string }>;
  migrateOnStart: boolean;
  secretKey: string;
  /** The secret's environment; a connection key of the other one is refused (upstream.md, "Connection keys"). */
  environment: 'test' | 'live';
  /** Root of the upstream, without a trailing slash. */
  baseUrl: string;
  headerPrefix: 'x-pica' | 'x-one';
  tokenSource: 'sdk' | 'http' | 'one';
  /** One or two: the second while the root key is rotated. */
  adminApiKeys: readonly string[];
  /** Whose claims of a connection are checked against the vault. */
  connectionVerification: 'always' | 'browser' | 'off';
  /** The identity provider whose JWTs browsers may present; undefined: none. */
  jwt: JwtSettings | undefined;
  corsOrigins: '*' | readonly string[];
  upstreamTimeoutMs: number;
  proxyTimeoutMs: number;
  proxyMaxBodyBytes: number;
  proxyMaxInFlight: number;
  /** undefined: no limit. */
  proxyMaxDurationMs: number | undefined;
  /** Addresses and ranges whose `x-forwarded-for` is believed; empty: nobody's. */
  trustedProxies: readonly string[];
  /** 0: no limit. */
  authFailuresPerMinute: number;
  rateLimit: Readonly<{ perMinute: number; browserPerMinute: number; redisUrl: string | undefined }>;
  actionResolution: 'auto' | 'off';
  integrationsTtlMs: number;
  /** 0: never. */
  reconcileIntervalMs: number;
  reconcileRateShare: number;
  webhookAllowPrivate: boolean;
  retentionDays: Readonly<{ webhooks: number }>;
  maxConnections: number;
  /** How long a stop goes on serving, so that load balancers turn away. */
  shutdownDelayMs: number;
  shutdownTimeoutMs: number;
  logLevel: string;
  /** Where traces go; undefined: there are none. */
  tracing: TracingSettings | undefined;
  demo: boolean;
  demoWidgetUrl: string | undefined;
}>;

/** Thrown by {@link loadConfig}: `problems` holds one line for each bad or missing variable, none of them a value. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`${problems.length} configuration problem${problems.length === 1 ? '' : 's'}:\n${problems.map((line) => `  ${line}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/**
 * Reads the environment (`process.env`, and `./.env` beneath it, unless `env` is given) into a frozen Config.
 * An empty value counts as unset. Throws a ConfigError that names every bad or missing variable at once.
 */
export function loadConfig(env: Record<string, string | undefined> = readEnvironment()): Config {
  const values = read(EnvironmentSchema, env);
  const origins = splitList(values.CORS_ORIGINS);
  return Object.freeze({
    host: values.HOST,
    port: values.PORT,
    ...databaseConfig(values),
    secretKey: values.PICA_SECRET_KEY,
    environment: values.PICA_SECRET_KEY.startsWith('sk_live_') ? 'live' : 'test',
    baseUrl: values.PICA_BASE_URL.replace(/\/+$/, ''),
    headerPrefix: values.PICA_HEADER_PREFIX,
    tokenSource: values.AUTHKIT_TOKEN_SOURCE,
    adminApiKeys: Object.freeze(rootKeys(values.ADMIN_API_KEY)),
    connectionVerification: values.CONNECTION_VERIFICATION,
    jwt: jwtSettings(values),
    corsOrigins: origins.includes('*') ? '*' : Object.freeze(origins),
    upstreamTimeoutMs: values.UPSTREAM_TIMEOUT_MS,
    proxyTimeoutMs: values.PROXY_TIMEOUT_MS,
    proxyMaxBodyBytes: values.PROXY_MAX_BODY_BYTES,
    proxyMaxInFlight: values.PROXY_MAX_IN_FLIGHT,
    proxyMaxDurationMs: values.PROXY_MAX_DURATION_MS,
    trustedProxies: Object.freeze(splitList(values.TRUSTED_PROXIES ?? '')),
    authFailuresPerMinute: values.AUTH_FAILURES_PER_MINUTE,
    rateLimit: Object.freeze({ perMinute: values.RATE_LIMIT_PER_MINUTE, browserPerMinute: values.BROWSER_RATE_LIMIT_PER_MINUTE, redisUrl: values.REDIS_URL }),
    actionResolution: values.ACTION_RESOLUTION,
    integrationsTtlMs: values.INTEGRATIONS_TTL_MS,
    reconcileIntervalMs: values.RECONCILE_INTERVAL_MS,
    reconcileRateShare: values.RECONCILE_RATE_SHARE,
    webhookAllowPrivate: values.WEBHOOK_ALLOW_PRIVATE,
    retentionDays: Object.freeze({ webhooks: values.WEBHOOK_RETENTION_DAYS }),
    maxConnections: values.MAX_CONNECTIONS,
    shutdownDelayMs: values.SHUTDOWN_DELAY_MS,
    shutdownTimeoutMs: values.SHUTDOWN_TIMEOUT_MS,
    logLevel: values.LOG_LEVEL,
    tracing: tracingSettings(values),
    demo: values.DEMO,
    demoWidgetUrl: values.DEMO_WIDGET_URL?.replace(/\/+$/, ''),
  });
}

/** The settings of the database alone, for commands that need nothing else; they are read, and refused, as {@link loadConfig} does. */
export function loadDatabaseConfig(env: Record<string, string | undefined> = readEnvironment()): DatabaseConfig {
  return Object.freeze(databaseConfig(read(DatabaseSchema, env)));
}

function databaseConfig(values: Static<typeof DatabaseSchema>): DatabaseConfig {
  const { DATABASE_URL: url, DATABASE_DIRECT_URL: directUrl, DATABASE_POOL_SIZE: poolSize, DATA_DIR: dataDir, MIGRATE_ON_START: migrateOnStart } = values;
  return { database: Object.freeze({ url, directUrl, poolSize, dataDir }), migrateOnStart };
}

function readEnvironment(): Record<string, string | undefined> {
  if (existsSync('.env')) process.loadEnvFile('.env');
  return process.env;
}

function read<T extends TObject>(schema: T, env: Record<string, string | undefined>): Static<T> {
  const problems: string[] = [];
  const values = parse(schema, env, problems);
  problems.push(...contradictions(values));
  if (problems.length > 0) throw new ConfigError([...new Set(problems)]);
  return values;
}

function parse<T extends TObject>(schema: T, env: Record<string, string | undefined>, problems: string[]): Static<T> {
  const data = Object.fromEntries(Object.keys(schema.properties).filter((name) => env[name]?.trim()).map((name) => [name, env[name]!.trim()]));
  try {
    return envSchema<Static<T>>({ schema, data, dotenv: false, env: false });
  } catch (error) {
    problems.push(...((error as { errors?: AjvProblem[] }).errors ?? []).map(describe));
    if (problems.length === 0) throw error;
    // What could be read still takes part in the checks that follow, so that one run reports everything.
    return data as Static<T>;
  }
}

type AjvProblem = { instancePath: string; keyword: string; message?: string; params: Record<string, unknown> };

function describe({ instancePath, keyword, message, params }: AjvProblem): string {
  if (keyword === 'required') return `${String(params['missingProperty'])} is required: ${meaning(String(params['missingProperty']))}`;
  const name = instancePath.slice(1);
  if (['enum', 'pattern'].includes(keyword)) return `${name} is not valid: ${meaning(name)}`;
  return `${name} ${message ?? 'is not valid'}: ${meaning(name)}`;
}

function meaning(name: string): string {
  const schema = (EnvironmentSchema.properties as Record<string, { description?: string; enum?: string[] }>)[name];
  const choices = schema?.enum?.join(', ');
  return choices ? `one of ${choices}.` : schema?.description ?? '';
}

function jwtSettings(values: Environment): JwtSettings | undefined {
  const { AUTH_JWKS_URL: jwksUrl, AUTH_JWT_ISSUER: issuer, AUTH_JWT_AUDIENCE: audience } = values;
  if (!jwksUrl || !issuer || !audience) return undefined;
  return Object.freeze({
    jwksUrl, issuer, audience, identityClaim: values.AUTH_JWT_IDENTITY_CLAIM, identityTypeClaim: values.AUTH_JWT_IDENTITY_TYPE_CLAIM,
  });
}

function tracingSettings(values: Environment): TracingSettings | undefined {
  const endpoint = values.OTEL_EXPORTER_OTLP_ENDPOINT?.replace(/\/+$/, '');
  if (!endpoint) return undefined;
  return Object.freeze({ endpoint, headers: Object.freeze(parseOtlpHeaders(values.OTEL_EXPORTER_OTLP_HEADERS) ?? {}), serviceName: values.OTEL_SERVICE_NAME });
}

function contradictions(values: Partial<Environment>): string[] {
  const found: string[] = [];
  const jwt = ['AUTH_JWKS_URL', 'AUTH_JWT_ISSUER', 'AUTH_JWT_AUDIENCE'] as const;
  const missing = jwt.filter((name) => !values[name]);
  if (missing.length > 0 && missing.length < jwt.length) {
    found.push(...missing.map((name) => `${name} is required with ${jwt.filter((other) => values[other]).join(' and ')}: all three or none.`));
  }
  for (const name of ['DATABASE_URL', 'DATABASE_DIRECT_URL'] as const) {
    try {
      // Another protocol is refused by its pattern already.
      if (/^postgres(?:ql)?:/.test(values[name] ?? '')) parsePostgresUrl(values[name]!);
    } catch (error) {
      found.push(`${name} ${(error as Error).message}`);
    }
  }
  if (values.DATABASE_DIRECT_URL && !values.DATABASE_URL) found.push('DATABASE_DIRECT_URL stands beside DATABASE_URL, which is missing.');
  for (const name of ['REDIS_URL', 'PICA_BASE_URL', 'DEMO_WIDGET_URL', 'AUTH_JWKS_URL', 'OTEL_EXPORTER_OTLP_ENDPOINT'] as const) {
    if (values[name] && !URL.canParse(values[name])) found.push(`${name} is not a URL.`);
  }
  for (const name of ['PICA_BASE_URL', 'OTEL_EXPORTER_OTLP_ENDPOINT'] as const) {
    const root = values[name] && URL.canParse(values[name]) ? new URL(values[name]) : undefined;
    if (root && (root.search || root.hash || root.username)) found.push(`${name} must be a plain root: no query, fragment or credentials.`);
  }
  const weak = values.ADMIN_API_KEY === undefined ? undefined : rootKeyProblem(values.ADMIN_API_KEY);
  if (weak) found.push(`ADMIN_API_KEY ${weak}`);
  if (values.PICA_SECRET_KEY?.startsWith('sk_live_') && isUnprotected(values.PICA_BASE_URL)) {
    found.push('PICA_BASE_URL must be https with a live PICA_SECRET_KEY (http only for loopback): the secret goes with every call.');
  }
  if (isUnprotected(values.AUTH_JWKS_URL)) {
    found.push('AUTH_JWKS_URL must be https (http only for loopback): whoever changes its answer on the way could sign in as anybody.');
  }
  if (!parseOtlpHeaders(values.OTEL_EXPORTER_OTLP_HEADERS)) {
    found.push('OTEL_EXPORTER_OTLP_HEADERS must be a comma list of name=value, with values percent-encoded.');
  }
  if (String(values.DEMO) === 'true' && values.PICA_SECRET_KEY?.startsWith('sk_live_')) {
    found.push('DEMO must not be true with a live PICA_SECRET_KEY: the page hands out keys to anyone.');
  }
  if (!splitList(values.TRUSTED_PROXIES ?? '').every((range) => ipaddr.isValid(range) || ipaddr.isValidCIDR(range))) {
    found.push('TRUSTED_PROXIES must be a comma list of addresses and CIDR ranges such as 10.0.0.0/8.');
  }
  for (const origin of splitList(values.CORS_ORIGINS ?? '*')) {
    if (origin !== '*' && !isOrigin(origin)) {
      found.push('CORS_ORIGINS must be * or a comma list of origins such as https://app.example.com (no path, no trailing slash).');
    }
  }
  return found;
}

/** Whether what is sent to a URL can be read on the way. */
function isUnprotected(url: string | undefined): boolean {
  if (url === undefined || !URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === 'http:' && !isLoopback(hostname);
}

function isLoopback(hostname: string): boolean {
  return /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname);
}

function splitList(list: string): string[] {
  return list.split(',').map((item) => item.trim()).filter(Boolean);
}

/**
 * Tells `@picahq/authkit-node` where the API is: two of its calls ignore its `baseUrl` and read this variable at call time
 * (upstream.md, "Traps in the SDK").
 */
export function setSdkApiRoot(url: string): void {
  process.env['PICA_API_BASE_URL'] = url;
}
