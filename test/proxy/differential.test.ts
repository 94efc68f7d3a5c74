import { once } from 'node:events';
import { Agent, METHODS, request as httpRequest, type IncomingMessage } from 'node:http';
import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { startGateway } from '../helpers/gateway.js';
import { type Random, seeded } from '../helpers/random.js';
import { type Received, startOkUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });

type Generated = { method: string; target: string; headers: [string, string][]; body: Buffer | undefined; chunked: boolean };

const segments = ['a', 'users', 'me', 'b.c', '...', 'x%20y', '%zz', '100%', 'caf%c3%a9', 'a;b=c', 'p%2Fq', '~!$&\'()*+,=:@-_', '', '[1]', '%E2%82%AC', '.hidden', 'end.'];
const pairs = ['q=1', 'q=1&q=2', 'x=..%2f..', 'e=', '=', 'a=b c'.replace(' ', '+'), 'u=http://x/y?z', 'percent=%', 'p[]=1', 'k=%00', ''];
const names = ['Accept', 'Accept-Encoding', 'Content-Type', 'If-None-Match', 'Range', 'User-Agent', 'X-Custom', 'x-lower', 'X-Mixed-Case_Name', 'Prefer', 'traceparent', 'Origin', 'Referer', 'x-request-id'];
const values = ['*/*', 'gzip, br', 'application/json; charset="utf-8"', ';;', '"etag"', 'bytes=0-1', 'a, b,,c', 'caf\xe9', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 'x'.repeat(3_000), '0', 'null'];
const methods = METHODS.filter((method) => method !== 'CONNECT' && method !== 'TRACE');

function generate(random: Random): Generated {
  const method = random.chance(0.7) ? random.pick(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']) : random.pick(methods);
  const path = Array.from({ length: random.below(5) + 1 }, () => `/${random.pick(segments)}`).join('');
  const target = random.chance(0.5) ? path : `${path}?${Array.from({ length: random.below(4) }, () => random.pick(pairs)).join('&')}`;
  const headers = Array.from({ length: random.below(8) }, (): [string, string] => [random.pick(names), random.pick(values)])
    // Two content types are two readings, and refused.
    .filter(([name], i, all) => name !== 'Content-Type' || all.findIndex(([other]) => other === name) === i);
  const hasBody = method !== 'GET' && method !== 'HEAD' ? random.chance(0.6) : random.chance(0.05);
  const size = random.pick([1, 10, 1_000, 65_536, 65_537, 200_000]);
  const body = hasBody ? Buffer.from(Array.from({ length: Math.min(size, 64) }, () => random.below(256))) : undefined;
  return { method, target, headers, body: body && Buffer.alloc(size, body), chunked: random.chance(0.3) };
}

// .ci/run makes it 2,000.
const count = Number(process.env['DIFFERENTIAL_REQUESTS'] ?? 500);

t.test(`${count} generated requests arrive through the gateway as they arrive without it`, { timeout: 120_000 }, async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  // A bound key: with an Origin header, an unbound one may not choose its identity.
  const key = await gateway.createKey(['proxy'], { identity: 'ada' });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  const send = async (root: string, prefix: string, { method, target, headers, body, chunked }: Generated, own: [string, string][]): Promise<Received> => {
    const { port } = new URL(root);
    const framing: [string, string][] = body === undefined ? [] : chunked ? [['transfer-encoding', 'chunked']] : [['content-length', String(body.length)]];
    const call = httpRequest({ agent, port, method, path: prefix + target, headers: [...headers, ...own, ...framing, ['host', 'x']].flat() as never, setHost: false });
    call.end(body);
    const [answer] = await once(call, 'response') as [IncomingMessage];
    const text = Buffer.concat(await answer.toArray()).toString();
    if (answer.statusCode !== 200) throw new Error(`${method} ${target}: ${answer.statusCode} ${text}`);
    return upstream.received.pop()!;
  };
  const random = seeded(20_260_722);
  let different = 0;
  for (let i = 0; i < count && different < 5; i += 1) {
    const generated = generate(random);
    const straight = await send(upstream.url, '/v1/passthrough/gmail', generated, []);
    const proxied = await send(gateway.url, '/proxy/gmail', generated, [['x-api-key', key]]);
    if (!t.strictSame(comparable(proxied), comparable(straight), `${i}: ${generated.method} ${generated.target}`)) different += 1;
  }
});

/** What both must have in common: everything but credentials, the host, and the framing of the connection. */
function comparable({ method, url, rawHeaders, body }: Received): unknown {
  const headers = rawHeaders.flatMap((name, i) => (i % 2 === 0 && !/^(?:x-pica-.*|host|connection|transfer-encoding|content-length)$/i.test(name) ? [[name, rawHeaders[i + 1]!]] : []));
  return { method, url, headers, body: body.toString('base64') };
}
