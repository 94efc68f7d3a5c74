import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import t, { type Test } from 'tap';

type Source = { path: string; text: string; imports: string[] };

const files = (await readdir('src', { recursive: true })).map((name) => `src/${name.replaceAll('\\', '/')}`).filter((name) => name.endsWith('.ts') && !name.includes('/generated/'));
const sources: Source[] = await Promise.all(files.map(async (path) => {
  const text = await readFile(path, 'utf8');
  const specifiers = [...text.matchAll(/(?:from|import\()\s*'([^']+)'/g)].map((match) => match[1]!);
  return { path, text, imports: specifiers.map((name) => (name.startsWith('.') ? normalize(join(dirname(path), name)) : name)) };
}));

const domains = ['auth', 'authkit', 'connections', 'integrations', 'proxy', 'demo', 'webhooks'];
const domainOf = (path: string) => domains.find((domain) => path.startsWith(`src/${domain}/`));

/** No file matching `from` imports anything matching `what`. */
function forbid(test: Test, from: (path: string) => boolean, what: RegExp, except: RegExp = /^$/) {
  const found = sources.filter(({ path }) => from(path)).flatMap(({ path, imports }) =>
    imports.filter((name) => what.test(name) && !except.test(name) && !except.test(path)).map((name) => `${path} → ${name}`));
  test.same(found, []);
}

t.test('src never knows the sandbox, tests, scripts or benchmarks exist', async (t) => {
  forbid(t, () => true, /^(?:sandbox|test|scripts|bench)\//);
  // The directive of a content security policy is another one.
  const mentions = sources.filter(({ text }) => /sandbox(?!; default-src)/i.test(text)).map(({ path }) => path);
  t.same(mentions, []);
});

t.test('domains do not import each other, save proxy → connections and everyone → auth', async (t) => {
  const found = sources.flatMap(({ path, imports }) => {
    const own = domainOf(path);
    if (!own) return [];
    return imports.filter((name) => {
      const other = domainOf(name);
      return other && other !== own && other !== 'auth' && !(own === 'proxy' && other === 'connections');
    }).map((name) => `${path} → ${name}`);
  });
  t.same(found, []);
});

t.test('only app.ts and what starts processes know the domains', async (t) => {
  forbid(t, (path) => !domainOf(path) && !/src\/(?:app|server|keys-cli)\.ts/.test(path), /^src\/(?:authkit|connections|integrations|proxy|demo|webhooks)\//);
});

t.test('imports flow one way: persistence and upstream know no domain but auth\'s types', async (t) => {
  forbid(t, (path) => path.startsWith('src/persistence/'), /^src\/(?!persistence|errors)/);
  forbid(t, (path) => path.startsWith('src/upstream/'), /^src\/(?:authkit|connections|integrations|proxy|demo|webhooks|app|server)/);
  forbid(t, (path) => path === 'src/errors.ts', /./);
});

t.test('services and stores do not know Fastify; stores alone know Prisma', async (t) => {
  const fastifysOwn = /(?:routes|plugin|reconciling|delivering|sync-stream|browser|identity|rate-limit)\.ts$/;
  forbid(t, (path) => /^src\/(?:auth|authkit|connections|integrations|webhooks|demo|upstream|persistence)\//.test(path) && !fastifysOwn.test(path), /^(?:fastify|@fastify)/);
  forbid(t, (path) => !path.startsWith('src/persistence/') && !/(?:store|queue)\.ts$/.test(path), /persistence\/generated|^@?prisma/);
  forbid(t, (path) => domainOf(path) !== undefined && !/(?:store|queue)\.ts$/.test(path), /persistence\/database/);
});

t.test('only upstream opens sockets to the upstream, and only config reads the environment', async (t) => {
  // A type opens nothing: only what is imported to run counts.
  const opening = sources.filter(({ path }) => !/^src\/(?:http\/|upstream\/|persistence\/data-directory\.ts|webhooks\/(?:sender|target)\.ts|proxy\/routes\.ts)/.test(path)).flatMap(({ path, text }) =>
    [...text.matchAll(/^import (?!type )[^;]*?from '((?:undici|axios|node:https?|node:net|node:tls))';/gm)].map((match) => `${path} → ${match[1]}`));
  t.same(opening, []);
  t.same(sources.filter(({ path, text }) => path !== 'src/auth/jwks.ts' && /\bfetch\(/.test(text)).map(({ path }) => path), []);
  t.same(sources.filter(({ path, text }) => path !== 'src/config.ts' && /process\.env/.test(text)).map(({ path }) => path), []);
  t.same(sources.filter(({ path, text }) => path !== 'src/server.ts' && /process\.exit\(/.test(text)).map(({ path }) => path), []);
});

t.test('nothing of ours that ships imports a development dependency', async (t) => {
  const { dependencies } = JSON.parse(await readFile('package.json', 'utf8')) as { dependencies: Record<string, string> };
  const packages = new Set(sources.flatMap(({ imports }) => imports).filter((name) => !name.startsWith('src/') && !name.startsWith('node:')).map((name) => name.split('/').slice(0, name.startsWith('@') ? 2 : 1).join('/')));
  t.same([...packages].filter((name) => !(name in dependencies) && name !== 'axios'), []);
});
