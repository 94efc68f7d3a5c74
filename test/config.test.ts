import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import t from 'tap';
import { ConfigError, EnvironmentSchema, loadConfig, loadDatabaseConfig } from '../src/config.js';

const good = { PICA_SECRET_KEY: 'sk_test_abc', ADMIN_API_KEY: '7f3a9c1e5b2d8046f1e2d3c4b5a69788' };

function problemsOf(env: Record<string, string | undefined>, load: (env: Record<string, string | undefined>) => unknown = loadConfig): readonly string[] {
  try {
    load(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

t.test('.env.example names every variable, and no other', async (t) => {
  const named = (await readFile('.env.example', 'utf8')).match(/^(?:# )?[A-Z][A-Z0-9_]+(?==)/gm)!.map((line) => line.replace('# ', ''));
  t.same([...named].sort(), [...Object.keys(EnvironmentSchema.properties), 'POSTGRES_PASSWORD'].sort(), 'and the one docker-compose.yml needs');
  t.equal(new Set(named).size, named.length);
});

t.test('.env.example shows the real defaults', async (t) => {
  const text = await readFile('.env.example', 'utf8');
  for (const [name, schema] of Object.entries(EnvironmentSchema.properties) as [string, { default?: unknown }][]) {
    if (schema.default !== undefined) t.match(text, new RegExp(`^# ${name}=${String(schema.default).replace(/[*.?]/g, '\\$&')}$`, 'm'), name);
  }
});

t.test('with only the two secrets, everything else has its documented default', async (t) => {
  const config = loadConfig(good);
  t.match(config, { host: '127.0.0.1', port: 3000, baseUrl: 'https://api.picaos.com', tokenSource: 'sdk', corsOrigins: '*', proxyTimeoutMs: 30_000, proxyMaxBodyBytes: 104_857_600, environment: 'test' });
  t.ok(Object.isFrozen(config));
});

t.test('every bad or missing variable is listed at once, by name, without its value', async (t) => {
  const env = { PICA_SECRET_KEY: 'hunter2-secret', ADMIN_API_KEY: 'short-secret', PORT: 'http', LOG_LEVEL: 'loud', DATABASE_URL: 'mysql://x', CORS_ORIGINS: 'app.example.com/', PROXY_TIMEOUT_MS: '0' };
  const problems = problemsOf(env);
  for (const name of Object.keys(env)) t.ok(problems.some((line) => line.startsWith(name)), name);
  t.notMatch(problems.join('\n'), /hunter2|short-secret/);
});

t.test('secrets have no defaults, and an empty value counts as unset', async (t) => {
  for (const env of [{}, { PICA_SECRET_KEY: '', ADMIN_API_KEY: ' ' }]) {
    const problems = problemsOf(env);
    t.equal(problems.length, 2);
    t.match(problems.join('\n'), /ADMIN_API_KEY is required.*PICA_SECRET_KEY is required|PICA_SECRET_KEY is required.*ADMIN_API_KEY is required/s);
  }
});

t.test('what only needs the database is asked for nothing else, and refused a bad one in the same words', (t) => {
  t.same(loadDatabaseConfig({ PORT: 'http', DATA_DIR: '/data', MIGRATE_ON_START: 'false' }), { database: { url: undefined, poolSize: 10, dataDir: '/data' }, migrateOnStart: false });
  t.match([...problemsOf({ DATABASE_URL: 'mysql://hunter2@x', DATABASE_POOL_SIZE: '0' }, loadDatabaseConfig)].sort(), [/^DATABASE_POOL_SIZE /, /^DATABASE_URL is not valid/]);
  t.same(problemsOf({ DATABASE_URL: 'postgres://x:hunter2@h:port' }, loadDatabaseConfig), ['DATABASE_URL is not a URL.']);
  t.same(problemsOf({ DATABASE_URL: 'postgres://h', DATABASE_DIRECT_URL: 'postgres://h,i:x' }, loadDatabaseConfig), ['DATABASE_DIRECT_URL is not a URL.']);
  t.match(problemsOf({ DATABASE_DIRECT_URL: 'postgres://h' }, loadDatabaseConfig), [/^DATABASE_DIRECT_URL stands beside DATABASE_URL/]);
  t.match(problemsOf({ DATABASE_URL: 'postgres://a,b/x?target_session_attrs=read-only' }, loadDatabaseConfig), [/^DATABASE_URL has a target_session_attrs/]);
  for (const url of ['postgres:///authkit?host=/var/run/postgresql', 'postgres://u:p@one:1,[::1]:2,three/x', 'postgres://u:p%40@/x?host=a,b&port=1,2', 'postgresql://%2Fvar%2Frun/x']) {
    t.equal(loadDatabaseConfig({ DATABASE_URL: url }).database.url, url);
  }
  t.end();
});

t.test('a root key under 32 characters is refused', async (t) => {
  t.equal(problemsOf({ ...good, ADMIN_API_KEY: good.ADMIN_API_KEY.slice(1) }).length, 1);
});

t.test('a root key that is easy to guess is refused, without its value', async (t) => {
  for (const key of [
    'x'.repeat(32), 'aB'.repeat(20), 'changeme'.repeat(4), 'correct-horse-battery-staple-'.repeat(2), '0123456789'.repeat(4), 'abcdefghijklmnopqrstuvwxyz0123456789', 'zyxwvutsrqponmlkjihgfedcba987654',
    `${'0'.repeat(31)}1`, 'aaaaaaaabbbbbbbbccccccccdddddddd', 'aaaaaaaaaaaaaaaaaaaaaaaaq7f3a9c1',
  ]) {
    const problems = problemsOf({ ...good, ADMIN_API_KEY: key });
    t.match(problems, [/^ADMIN_API_KEY is too easy to guess/], key);
    t.notMatch(problems.join(), key);
    t.match(problemsOf({ ...good, ADMIN_API_KEY: `${good.ADMIN_API_KEY},${key}` }), [/^ADMIN_API_KEY is too easy to guess/], `second: ${key}`);
  }
  for (let round = 0; round < 500; round += 1) {
    for (const encoding of ['hex', 'base64', 'base64url'] as const) t.same(problemsOf({ ...good, ADMIN_API_KEY: randomBytes(encoding === 'hex' ? 16 : 24).toString(encoding) }), []);
  }
  t.same(problemsOf({ ...good, ADMIN_API_KEY: '83019274650192837465019283746102' }), [], 'digits alone are enough where they are random');
});

t.test('ADMIN_API_KEY is one or two keys', async (t) => {
  const second = 'e1d0c9b8a7968574635241302f1e0d9c';
  t.same(loadConfig(good).adminApiKeys, [good.ADMIN_API_KEY]);
  for (const list of [`${good.ADMIN_API_KEY},${second}`, `${good.ADMIN_API_KEY}, ${second}`]) t.same(loadConfig({ ...good, ADMIN_API_KEY: list }).adminApiKeys, [good.ADMIN_API_KEY, second]);
  for (const list of [`${good.ADMIN_API_KEY},`, `,${good.ADMIN_API_KEY}`, `${good.ADMIN_API_KEY},${second.slice(1)}`, `${good.ADMIN_API_KEY},${second},${'q7'.repeat(3)}${second}`, `${good.ADMIN_API_KEY},${good.ADMIN_API_KEY}`]) {
    t.match(problemsOf({ ...good, ADMIN_API_KEY: list }), [/^ADMIN_API_KEY /], list);
  }
});

t.test('a live secret goes over TLS, or stays on this machine', async (t) => {
  const live = { ...good, PICA_SECRET_KEY: 'sk_live_abc' };
  for (const url of ['http://api.picaos.com', 'http://10.0.0.1:4010', 'http://localhost.example.com', 'HTTP://api.picaos.com'.toLowerCase()]) {
    t.match(problemsOf({ ...live, PICA_BASE_URL: url }), [/^PICA_BASE_URL must be https with a live PICA_SECRET_KEY/], url);
    t.same(problemsOf({ ...good, PICA_BASE_URL: url }), [], 'with a test secret it may');
  }
  for (const url of ['https://api.picaos.com', 'http://127.0.0.1:4010', 'http://localhost:4010', 'http://[::1]:4010']) t.same(problemsOf({ ...live, PICA_BASE_URL: url }), [], url);
});

t.test('the demo never runs on a live secret', async (t) => {
  t.match(problemsOf({ ...good, PICA_SECRET_KEY: 'sk_live_abc', DEMO: 'true' })[0], /^DEMO/);
});

t.test('an identity provider\'s keys come over TLS, or from this machine', async (t) => {
  const jwt = { AUTH_JWT_ISSUER: 'x', AUTH_JWT_AUDIENCE: 'y' };
  for (const host of ['login.example.com', '10.0.0.1', '127.0.0.1.example.com', 'localhost.example.com', '127.evil.example']) {
    t.match(problemsOf({ ...good, ...jwt, AUTH_JWKS_URL: `http://${host}/jwks.json` }), [/^AUTH_JWKS_URL must be https/], host);
  }
  for (const url of ['https://login.example.com/jwks.json', 'http://localhost:8080/jwks.json', 'http://127.0.0.2/jwks.json', 'http://[::1]/jwks.json']) {
    t.equal(loadConfig({ ...good, ...jwt, AUTH_JWKS_URL: url }).jwt?.jwksUrl, url);
  }
});

t.test('a REDIS_URL that cannot be read is refused by name, without its value', async (t) => {
  for (const url of ['http://secret@x', 'redis://', 'redis://:secret%@x', 'redis://:secret@x:port']) {
    const problems = problemsOf({ ...good, REDIS_URL: url });
    t.equal(problems.length, 1, url);
    t.match(problems[0], /^REDIS_URL is not/);
    t.notMatch(problems[0], /secret/);
  }
  t.equal(loadConfig({ ...good, REDIS_URL: 'rediss://:p%40ss@x:6380/1' }).rateLimit.redisUrl, 'rediss://:p%40ss@x:6380/1');
});

t.test('traces are off without a collector; with one, its headers are read as the OpenTelemetry specification writes them', async (t) => {
  t.equal(loadConfig({ ...good, OTEL_EXPORTER_OTLP_HEADERS: 'a=b', OTEL_SERVICE_NAME: 'x' }).tracing, undefined);
  t.same(loadConfig({ ...good, OTEL_EXPORTER_OTLP_ENDPOINT: 'https://otlp.example.com/in/', OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20a=b%2Cc, x-tenant = t1 ,' }).tracing, {
    endpoint: 'https://otlp.example.com/in', headers: { authorization: 'Bearer a=b,c', 'x-tenant': 't1' }, serviceName: 'authkit-gateway',
  });
});

t.test('a collector that could not be reached or told its headers is refused at the start, without their values', async (t) => {
  for (const endpoint of ['localhost:4318', 'grpc://localhost:4317', 'http://', 'http://user:hunter2@localhost:4318', 'http://localhost:4318?key=hunter2']) {
    const problems = problemsOf({ ...good, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
    t.match(problems, [/^OTEL_EXPORTER_OTLP_ENDPOINT/], endpoint);
    t.notMatch(problems.join(''), 'hunter2');
  }
  for (const headers of ['hunter2', '=hunter2', 'a b=hunter2', 'a=', 'a=hunter2%', 'a=hunter2%0d%0ax:y', 'a=hunter2\u0394']) {
    const problems = problemsOf({ ...good, OTEL_EXPORTER_OTLP_HEADERS: headers });
    t.match(problems, [/^OTEL_EXPORTER_OTLP_HEADERS/], headers);
    t.notMatch(problems.join(''), 'hunter2');
  }
});
