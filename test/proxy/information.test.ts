import { once } from 'node:events';
import { IncomingMessage, type ServerResponse, ServerResponse as Response } from 'node:http';
import { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { passInformation } from '../../src/proxy/information.js';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { exchange, open } from '../helpers/raw-http.js';
import { seeded } from '../helpers/random.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
const early = 'HTTP/1.1 103 Early Hints\r\n';

/** A gateway whose upstream calls `answer` once the body has come; `say` puts bytes of the test's own on the wire. */
async function start(t: Test, answer: (response: ServerResponse, say: (bytes: string) => void, call: number) => void) {
  let call = 0;
  const upstream = await startUpstream(t, (request, response) => {
    call += 1;
    request.on('end', () => answer(response, (bytes) => void response.socket!.write(bytes, 'latin1'), call));
  });
  return { upstream, gateway: await startGateway(t, upstream.url, {}, database) };
}
const finish = (response: ServerResponse) => void response.writeHead(200, { 'x-pica-passthrough-a': 'b', 'content-length': 5 }).end('whole');
const ask = (method = 'GET', headers = '', version = '1.1') =>
  `${method} /proxy/gmail/x HTTP/${version}\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n${headers}`;
const last = 'connection: close\r\n\r\n';

t.test('103 arrives before the answer, its headers by the rules of any answer\'s, and the answer is whole', async (t) => {
  let go: () => void = () => {};
  const { gateway } = await start(t, (response, say) => {
    say(`${early}Link: </a.css>; rel=preload; as=style, <https://b.example/x,y;z>; rel="preconnect"\r\nX-Pica-Passthrough-Link: </c.js>;rel=preload\r\nlink: </d>\r\n`
      + 'x-one-passthrough-x-hint: yes\r\nx-hint: no\r\nx-two: 1\r\nx-two: 2\r\nset-cookie: a=b\r\nx-pica-secret: s\r\nx-authkit-error: forged\r\nconnection: x-hop\r\nx-hop: 1\r\n'
      + 'content-length: 7\r\n__proto__: p\r\n\r\n');
    go = () => finish(response);
  });
  const socket = open(gateway.url);
  socket.write(ask() + last);
  const [first] = await once(socket, 'data') as [Buffer];
  t.equal(first.toString(), `${early}Link: </c.js>;rel=preload\r\nx-hint: yes\r\nx-two: 1, 2\r\n__proto__: p\r\n\r\n`, 'the restored link wins over the upstream\'s own');
  go();
  const rest = Buffer.concat(await socket.toArray() as Buffer[]).toString();
  t.match(rest, /^HTTP\/1\.1 200 OK\r\na: b\r\n.*content-length: 5\r\n.*\r\n\r\nwhole$/s);
});

t.test('102 and several 103 pass, in order; other informational answers do not', async (t) => {
  const { gateway } = await start(t, (response, say) => {
    say('HTTP/1.1 102 Processing\r\nx: y\r\n\r\n');
    say(`${early}link: </a>; rel=preload, </b,c>; title="x"; rel=preload\r\n\r\nHTTP/1.1 104 Upload Resumption\r\nlink: </no>\r\n\r\n${early}link: </c>\r\n\r\n`);
    say('HTTP/1.1 102 Processing\r\n\r\n');
    finish(response);
  });
  const answer = await exchange(gateway.url, ask('POST', 'content-length: 2\r\n') + `${last}hi`);
  t.strictSame(answer.match(/^(?:HTTP\/1.1 \d+|link: .*)/gim), ['HTTP/1.1 102', 'HTTP/1.1 103', 'Link: </a>; rel=preload, </b,c>; title="x"; rel=preload', 'HTTP/1.1 103', 'Link: </c>', 'HTTP/1.1 102', 'HTTP/1.1 200']);
  t.match(answer, /\r\n\r\nwhole$/);
});

t.test('a malformed link is left out, and harms neither the process nor the answer', async (t) => {
  const { gateway } = await start(t, (response, say) => {
    const links = [
      'nonsense', '', '</a', '</a>; title="b c"', '</a>; x="', '</a>,', '</a>,,</b>', '</a> </b>', '<a>;', '<<a>>', ';', '\t', '</\xe9>; a=\xff', '</a>; "b"', '</a>; ==', '< >', '</a>; b=c=d',
      `<x>${';a=b'.repeat(3_000)}"`, `<x>${'; a="b"'.repeat(1_500)};;`, '<'.repeat(15_000), `<a>${' '.repeat(15_000)}x`, '</a>;'.repeat(3_000), ','.repeat(15_000),
    ];
    for (const link of links) say(`${early}link: ${link}\r\n\r\n`);
    say(`${early}x-only: other\r\n\r\n`);
    finish(response);
  });
  const answer = await exchange(gateway.url, ask() + last);
  t.strictSame(answer.match(/^HTTP.*|^link.*/gim), ['HTTP/1.1 103 Early Hints', 'Link: </a>', 'HTTP/1.1 103 Early Hints', 'Link: </\xe9>; a=\xff', 'HTTP/1.1 200 OK'], 'a comma at the end is no harm');
  t.match(answer, /\r\n\r\nwhole$/);
});

t.test('what is not HTTP, or switches protocols unasked, is a failure of the upstream', async (t) => {
  for (const bad of ['link: </a>;\r\n x-folded: 1\r\n', 'link: </a\x01>\r\n', 'link: </a\rx: y>\r\n', 'link : </a>\r\n']) {
    const { gateway } = await start(t, (response, say) => {
      say(`${early}${bad}\r\n`);
      finish(response);
    });
    t.match(await exchange(gateway.url, ask('POST', 'content-length: 0\r\n') + last), /^HTTP\/1\.1 502 .*x-authkit-error: upstream_invalid_response/s, bad);
  }
  const { gateway } = await start(t, (response, say) => {
    say('HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n');
    finish(response);
  });
  t.match(await exchange(gateway.url, ask('POST', 'content-length: 0\r\n') + last), /^HTTP\/1\.1 502 /);
});

t.test('whatever is generated, Node takes what is passed to it', async (t) => {
  const random = seeded(20260727);
  const pieces = ['<', '>', '</a>', '</b,c>', ';', '; ', '=', '"', ',', ', ', ' ', '\t', 'rel', 'preload', 'as="x"', 'a=b', '*', '\xe9', '\\', '<a;b="c">', '; x', '; y=z'];
  let passed = 0;
  for (let i = 0; i < 50_000; i += 1) {
    const link = (random.chance(0.7) ? '</x>' : '') + Array.from({ length: random.below(8) }, () => random.pick(pieces)).join('');
    const request = new IncomingMessage(new Socket());
    [request.httpVersion, request.httpVersionMajor, request.httpVersionMinor] = ['1.1', 1, 1];
    const response = new Response(request);
    passInformation(response, 103, ['link', link], []);
    const [written] = (response as unknown as { outputData: { data: string }[] }).outputData;
    if (!written) continue;
    passed += 1;
    if (!/^HTTP\/1\.1 103 Early Hints\r\nLink: <[^\r\n]*\r\n\r\n$/.test(written.data)) t.fail(link);
  }
  t.ok(passed > 1_000 && passed < 49_000, `${passed} of 50,000`);
});

t.test('a caller of HTTP/1.0 gets the answer only', async (t) => {
  const { gateway } = await start(t, (response, say) => {
    say(`HTTP/1.1 102 Processing\r\n\r\n${early}link: </a>\r\n\r\n`);
    finish(response);
  });
  const answer = await exchange(gateway.url, `${ask('GET', '', '1.0')}\r\n`);
  t.match(answer, /^HTTP\/1\.[01] 200 OK/);
  t.match(answer, /\r\n\r\nwhole$/);
});

t.test('with Expect: 100-continue there is one 100, first', async (t) => {
  const { gateway } = await start(t, (response, say) => {
    say(`${early}link: </a>\r\n\r\n`);
    finish(response);
  });
  const socket = open(gateway.url);
  socket.write(ask('POST', 'content-length: 2\r\nexpect: 100-continue\r\n') + last);
  const [first] = await once(socket, 'data') as [Buffer];
  t.equal(first.toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
  socket.write('hi');
  const rest = Buffer.concat(await socket.toArray() as Buffer[]).toString();
  t.strictSame(rest.match(/^HTTP\/1.1 \d+/gm), ['HTTP/1.1 103', 'HTTP/1.1 200']);
});

t.test('hints of a try that failed do not spoil the next one', async (t) => {
  const { gateway } = await start(t, (response, say, call) => {
    say(`${early}link: </${call}>\r\n\r\n`);
    if (call === 1) setTimeout(() => response.socket!.destroy(), 50);
    else finish(response);
  });
  const answer = await exchange(gateway.url, ask() + last);
  t.strictSame(answer.match(/^HTTP\/1.1 \d+/gm), ['HTTP/1.1 103', 'HTTP/1.1 103', 'HTTP/1.1 200']);
  t.match(answer, /x-authkit-attempts: 2\r\n.*\r\n\r\nwhole$/s);
});

t.test('a caller that does not read is not sent hints without end', async (t) => {
  const hint = `${early}link: </${'a'.repeat(12_000)}>\r\n\r\n`;
  let sent: () => void = () => {};
  const allSent = new Promise<void>((resolve) => (sent = resolve));
  const { gateway } = await start(t, (response) => {
    let left = 5_000;
    const write = (): void => {
      while (left > 0) {
        left -= 1;
        if (!response.socket!.write(hint)) return void response.socket!.once('drain', write);
      }
      response.on('finish', sent);
      finish(response);
    };
    write();
  });
  const socket = open(gateway.url);
  socket.write(ask() + last);
  await once(socket, 'readable');
  await allSent;
  const answer = Buffer.concat(await socket.toArray() as Buffer[]).toString();
  t.ok(answer.length < 5_000 * hint.length / 2, `${answer.length} bytes`);
  t.match(answer, /\r\n\r\nwhole$/);
});
