import fc, { type Arbitrary } from 'fast-check';
import t from 'tap';
import { containsToken } from '../../src/auth/key-format.js';
import { catalogue } from '../../src/errors.js';
import { rootKey, secretKey } from '../helpers/gateway.js';
import { claimOf, openSession, startBoth } from '../helpers/trust.js';
import { anyJson, anyText, fromSchema, type Pools, type Schema } from './fixtures/from-schema.js';

// The whole run is 100,000 (`.ci/run` asks for it); a few thousand by default, so that `npm test` stays quick.
const runs = Number(process.env['GENERATED_REQUESTS'] || 3_000);
const seed = 20_261_121;
t.setTimeout(3_600_000);

type Parameter = { in: 'path' | 'query' | 'header'; name: string; required?: boolean; schema: Schema };
type Operation = { method: string; path: string; parameters: Parameter[]; body: Schema | undefined };
type Generated = { method: string; path: string; query: [string, string][]; headers: Record<string, string>; body: string | undefined };

t.test(`${runs} generated requests: not one 500, and no answer with a secret in it`, async (t) => {
  const { gateway, sandbox } = await startBoth(t, { LOG_LEVEL: 'error', WEBHOOK_ALLOW_PRIVATE: 'true' });
  const operations = readOperations((await gateway.request('GET', '/openapi.json')).json);
  t.ok(operations.length >= 20, `${operations.length} operations`);

  const stored: string[] = [];
  for (const [identity, platform] of [['ada', 'gmail'], ['ada', 'slack'], ['ada', 'slack'], ['bob', 'gmail']] as const) {
    const { claim } = await claimOf(sandbox, identity, platform);
    stored.push((await gateway.request('POST', '/connections', { headers: { 'x-user-id': identity }, json: claim })).json.id);
  }
  const everything = ['authkit:token', 'authkit:sessions', 'connections:read', 'connections:write', 'integrations:read', 'proxy', 'api-keys:manage', 'webhooks:manage'];
  const keys = [
    await gateway.createKey(everything), await gateway.createKey(everything, { identity: 'ada' }), await gateway.createKey(['proxy:gmail', 'connections:read']),
  ];
  const { token } = await openSession(gateway, { identity: 'ada', expiresIn: 3600 });
  const secrets = [secretKey, rootKey, ...keys, token];
  /** Shown by no answer but the one that makes it. */
  const madeOnce = (told: string) => containsToken(told) || /whsec_[\w+/]{20,}/.test(told);
  const webhook = await gateway.request('POST', '/webhooks', { json: { url: 'https://127.0.0.1:9/hook' } });
  t.equal(webhook.status, 201);
  const claimable: string[] = [];
  for (const identity of ['ada', 'ada', 'bob']) claimable.push((await claimOf(sandbox, identity)).key);
  const adas = Array<string>(6).fill('ada');
  const pools = {
    uuid: [...stored, webhook.json.id as string, '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87'], platform: ['gmail', 'gmail', 'slack'], identity: [...adas, 'bob'], user_id: [...adas, 'bob'],
    identityType: ['user'], url: ['https://127.0.0.1:9/hook'], key: claimable, connection_key: claimable,
  };

  const statuses = new Map<number, number>();
  let sent = 0;
  let succeeded = 0;
  await fc.assert(fc.asyncProperty(requests(operations, [rootKey, rootKey, rootKey, rootKey, ...keys, token], pools), async ({ method, path, query, headers, body }) => {
    const search = query.map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&');
    const answer = await gateway.app.inject({ method: method as 'GET', url: `${path}${search && `?${search}`}`, headers, ...(body === undefined ? {} : { payload: body }) });
    sent += 1;
    statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1);
    if (answer.statusCode < 400) succeeded += 1;
    if (answer.statusCode === 500) throw new Error(`500: ${gateway.log.lines.at(-1)}`);
    const code = answer.headers['x-authkit-error'];
    if (answer.statusCode >= 400 && !path.startsWith('/proxy') && !(String(code) in catalogue)) throw new Error(`${answer.statusCode} without a code: ${answer.body}`);
    const told = `${JSON.stringify(answer.headers)}${answer.body}`;
    // What was just created is shown, this once, to whoever created it.
    const leaked = secrets.some((secret) => told.includes(secret)) || (answer.statusCode !== 201 && !body?.includes('rotateSecret') && madeOnce(told)) || told.includes('"digest"');
    if (leaked) throw new Error(`a secret, in ${answer.statusCode}`);
    if (/node_modules|\bat \S+ \(|prisma\.\w+\./i.test(told)) throw new Error(`an internal message: ${answer.body}`);
  }), { numRuns: runs, seed, endOnFailure: true });

  t.comment(`${sent} requests with seed ${seed}: ${[...statuses].sort(([one], [other]) => one - other).map(([status, count]) => `${count} × ${status}`).join(', ')}`);
  t.equal(sent, runs);
  t.equal(statuses.get(500), undefined);
  t.ok(succeeded > runs / 20, `${succeeded} of them succeed, so what lies behind validation was reached`);
  t.equal((await gateway.request('GET', '/readyz')).status, 200, 'and it still works');
});

function readOperations(document: { paths: Record<string, Record<string, any>> }): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({
    method: method.toUpperCase(), path, parameters: operation.parameters ?? [], body: operation.requestBody?.content?.['application/json']?.schema,
  })));
}

function requests(operations: Operation[], credentials: string[], pools: Pools): Arbitrary<Generated> {
  const ids = fc.constantFrom(...pools['uuid']!);
  const headerText = anyText.map((text) => text.replace(/[^\x20-\x7e\x80-\xff]/g, ''));
  return fc.constantFrom(...operations).chain(({ method, path, parameters, body }) => fc.record({
    method: fc.oneof({ weight: 30, arbitrary: fc.constant(method) }, { weight: 1, arbitrary: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD') }),
    path: pathOf(path, ids),
    query: fc.tuple(
      fc.tuple(...parameters.filter((parameter) => parameter.in === 'query').map(({ name, schema }) => fc.option(
        fromSchema(schema, pools, name).map((value) => [name, typeof value === 'string' ? value : JSON.stringify(value)] as [string, string]), { freq: 2, nil: undefined },
      ))),
      fc.oneof({ weight: 12, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.array(fc.tuple(anyText, anyText), { maxLength: 2 }) }),
    ).map(([known, extra]) => [...known.filter((pair) => pair !== undefined), ...extra] as [string, string][]),
    headers: headersOf(credentials, headerText, pools),
    body: bodyOf(body, pools),
  })).map((generated) => {
    if (generated.body !== undefined) generated.headers['content-type'] ??= 'application/json';
    return generated;
  });
}

function pathOf(path: string, ids: Arbitrary<string>): Arbitrary<string> {
  const segments = path.split('/').map((segment): Arbitrary<string> => {
    if (!segment.startsWith('{') && segment !== '*') return fc.constant(segment);
    if (segment === '{platform}') return fc.oneof({ weight: 4, arbitrary: fc.constantFrom('gmail', 'slack') }, { weight: 1, arbitrary: anyText.map(encode) });
    if (/^\{(?:path|\*)\}$|^\*$/.test(segment)) return fc.oneof(fc.constantFrom('__provider/echo', 'users/me/messages', '..', '%2e%2e/x', ''), anyText.map(encode));
    return fc.oneof({ weight: 6, arbitrary: ids }, { weight: 1, arbitrary: anyText.map(encode) });
  });
  return fc.tuple(...segments).map((parts) => parts.join('/'));
}

function headersOf(credentials: string[], text: Arbitrary<string>, pools: Pools): Arbitrary<Record<string, string>> {
  const identity = fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...pools['identity']!) }, { weight: 1, arbitrary: text });
  const credential = fc.oneof(
    { weight: 40, arbitrary: fc.constantFrom(...credentials).chain((key) => fc.constantFrom({ 'x-api-key': key }, { authorization: `Bearer ${key}` })) },
    { weight: 1, arbitrary: text.map((key) => ({ 'x-api-key': key })) }, { weight: 1, arbitrary: text.map((key) => ({ authorization: `Bearer ${key}` })) },
    { weight: 1, arbitrary: fc.constant({}) },
  );
  const others = fc.record({
    'x-user-id': fc.option(identity, { freq: 1, nil: undefined }), 'x-identity': seldom(identity), 'x-identity-type': seldom(fc.constantFrom('user', 'team', 'robot')),
    'x-connection-id': seldom(fc.oneof(fc.constantFrom(...pools['uuid']!), text)), origin: seldom(fc.constantFrom('https://app.example.com', 'null', 'nonsense')),
    'content-type': seldom(fc.constantFrom('application/json', 'text/plain', 'application/xml', '', 'application/json; charset=latin1', 'multipart/form-data')),
    'x-request-id': seldom(text), accept: seldom(fc.constantFrom('text/event-stream', '*/*', '')),
  });
  return fc.tuple(credential, others).map(([one, rest]) => Object.fromEntries(Object.entries({ ...one, ...rest }).filter(([, value]) => value !== undefined)) as Record<string, string>);
}

/** One time in ten. */
function seldom<T>(arbitrary: Arbitrary<T>): Arbitrary<T | undefined> {
  return fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
}

function bodyOf(schema: Schema | undefined, pools: Pools): Arbitrary<string | undefined> {
  const broken = fc.oneof(fc.constantFrom('', '{', '[', 'null', '"', '{"a":1}}', '\u0000', '{"__proto__":{}}'), anyText, anyJson.map((value) => JSON.stringify(value)));
  if (!schema) return fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: broken });
  return fc.oneof({ weight: 12, arbitrary: fromSchema(schema, pools).map((value) => JSON.stringify(value)) }, { weight: 1, arbitrary: broken }, { weight: 1, arbitrary: fc.constant(undefined) });
}

function encode(text: string): string {
  return encodeURIComponent(text.replace(/\p{Surrogate}/gu, '\ufffd'));
}
