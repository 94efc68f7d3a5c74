import t from 'tap';
import { exchange } from '../helpers/raw-http.js';
import { rootKey } from '../helpers/gateway.js';
import { storeConnection } from '../helpers/upstream.js';
import { asBearer, openSession, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

// What JavaScript and Unicode call white space, save the line ends and tabs that are control characters.
const spaces = [' ', '\u00a0', '\u1680', '\u2000', '\u2009', '\u2028', '\u2029', '\u202f', '\u205f', '\u3000', '\ufeff'];
const browser = { origin: 'https://app.example.com', 'sec-fetch-site': 'cross-site' };
const encoded = (name: string): string => `UTF-8''${encodeURIComponent(name)}`;

t.test('one name, one identity', async (t) => {
  const { gateway } = await startBoth(t);
  const { host } = new URL(gateway.url);
  const id = (await storeConnection(gateway, 'gmail', 'ë')).id;
  const latin1Reading = (await storeConnection(gateway, 'gmail', 'Ã«')).id;

  /** A request written byte for byte: `lines` are Latin-1, so that any byte can stand in them. */
  const raw = async (lines: string[], target = 'GET /connections', body = '') => {
    const head = [`${target} HTTP/1.1`, `host: ${host}`, `x-api-key: ${rootKey}`, ...lines, 'connection: close'];
    const answer = await exchange(gateway.url, Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`, 'latin1'));
    return { status: Number(answer.split(' ')[1]), code: /x-authkit-error: (\S+)/i.exec(answer)?.[1], text: answer };
  };
  const listed = (text: string): string[] => [...text.matchAll(/"id":"([^"]+)"/g)].map((match) => match[1]!);

  await t.test('bytes beyond ASCII in an identity header are refused, whichever encoding they may be of', async (t) => {
    for (const value of ['\xc3\xab', '\xeb', 'Zo\xc3\xab', 'a\xa0', '\xff\xfe', '\xc0\x80']) {
      for (const name of ['x-user-id', 'x-identity']) {
        const answer = await raw([`${name}: ${value}`]);
        t.match(answer, { status: 400, code: 'invalid_request', text: new RegExp(`"field":"header\\.${name}"`) }, JSON.stringify(value));
      }
      t.match(await raw(['x-identity: ada', `x-identity-type: ${value}`]), { status: 400, code: 'invalid_request' });
      t.match(await raw([`x-user-id: ${value}`], 'GET /proxy/gmail/x'), { status: 400, code: 'invalid_request' }, 'on the proxy too');
    }
  });

  await t.test('percent-encoded as RFC 8187 says, every name has its own spelling', async (t) => {
    t.same(listed((await raw(['x-user-id: UTF-8\'\'%C3%AB'])).text), [id]);
    t.same(listed((await raw(['x-identity: utf-8\'en\'%c3%ab'])).text), [id]);
    t.same(listed((await raw([`x-user-id: ${encoded('Ã«')}`])).text), [latin1Reading]);
    const long = '🚀'.repeat(128);
    t.equal((await gateway.request('GET', '/connections', { headers: { 'x-user-id': encoded(long) } })).status, 200, 'characters are code points');
    t.equal((await gateway.request('GET', '/connections', { headers: { 'x-user-id': encoded(`${long}x`) } })).status, 400);
    const agrees = await gateway.request('POST', '/authkit/token', { headers: { 'x-user-id': encoded('Zoë (株式会社) \'🚀\'') }, json: { identity: 'Zoë (株式会社) \'🚀\'' } });
    t.equal(agrees.status, 200, 'and it is the name that a body says');
  });

  await t.test('what is not exactly that is refused', async (t) => {
    for (const value of [
      'UTF-8\'\'%EB', 'UTF-8\'\'%C3', 'UTF-8\'\'%C3%', 'UTF-8\'\'%C3%A', 'UTF-8\'\'%zz', 'UTF-8\'\'%C0%80', 'UTF-8\'\'%ED%A0%80', 'UTF-8\'\'%F4%90%80%80', 'UTF-8\'\'', 'UTF-8\'\'a b',
      'UTF-8\'\'a%00b', 'UTF-8\'\'a%0Ab', 'UTF-8\'\'%20a', 'UTF-8\'\'a%E3%80%80', 'UTF-8\'\'%EF%BB%BFa', 'UTF-8\'\'"a"',
    ]) t.match(await raw([`x-user-id: ${value}`]), { status: 400, code: 'invalid_request' }, value);
    for (const value of ['%C3%AB', '100%', 'ISO-8859-1\'\'%EB', 'O\'Neill']) t.equal((await raw([`x-user-id: ${value}`])).status, 200, `${value} is that name, character for character`);
  });

  await t.test('a query has one reading too', async (t) => {
    t.same(listed((await raw([], 'GET /connections?identity=%C3%AB')).text), [id]);
    t.same(listed((await raw([], `GET /connections?identity=${encodeURIComponent('Ã«')}`)).text), [latin1Reading]);
    for (const query of ['identity=\xc3\xab', 'identity=\xeb', 'identity=%EB', 'identity=%C3', 'identity=a%', 'identity=%zz', 'tag=%ED%A0%80', '%FF=a']) {
      t.match(await raw([], `GET /connections?${query}`), { status: 400 }, JSON.stringify(query));
    }
    t.equal((await raw([], 'GET /connections?identity=ada&identity=bob')).status, 400);
  });

  await t.test('a header that we read is sent once', async (t) => {
    for (const lines of [
      [`x-connection-id: ${id}`, `x-connection-id: ${id}`], ['x-pica-action-id: a', 'x-pica-action-id: b'], ['x-one-action-id: a', 'X-One-Action-Id: a'], ['idempotency-key: a', 'idempotency-key: b'],
      ['x-authkit-explain: true', 'x-authkit-explain: true'], ['content-type: application/json', 'content-type: text/plain'], ['x-pica-action-id: a', 'x-one-action-id: b'],
    ]) {
      const answer = await raw([`x-user-id: ${encoded('ë')}`, ...lines], 'POST /proxy/gmail/x');
      t.match(answer, { status: 400, code: 'invalid_request' }, lines.join(' | '));
    }
  });

  await t.test('a JSON body has one reading: UTF-8, not compressed, no member twice', async (t) => {
    const body = '{"identity":"ada"}';
    const post = (lines: string[], text = body) => raw([...lines, `content-length: ${text.length}`], 'POST /authkit/token', text);
    for (const type of ['application/json', 'application/json; charset=utf-8', 'application/json;charset="UTF-8"']) t.equal((await post([`content-type: ${type}`])).status, 200, type);
    for (const type of ['application/json; charset=iso-8859-1', 'application/json; charset=utf-16', 'application/json; charset=utf-7']) {
      t.match(await post([`content-type: ${type}`]), { status: 415, code: 'unsupported_media_type' }, type);
    }
    t.match(await post(['content-type: application/json', 'content-encoding: gzip']), { status: 415, code: 'unsupported_media_type' });
    t.equal((await post(['content-type: application/json', 'content-encoding: identity'])).status, 200);
    for (const twice of ['{"identity":"ada","identity":"bob"}', '{"identity":"ada","\\u0069dentity":"bob"}', '{"label":"a","identity":"ada","label":"b"}']) {
      t.match(await post(['content-type: application/json'], twice), { status: 400, code: 'invalid_request' }, twice);
    }
    for (const fine of ['{"identity":"a\\"identity\\":\\"b"}', '{"identity":"{\\"identity\\":1,\\"identity\\":2}"}']) t.equal((await post(['content-type: application/json'], fine)).status, 200, fine);
  });
});

t.test('white space around an identity', async (t) => {
  const { gateway } = await startBoth(t);
  const wrong = spaces.flatMap((space) => [`${space}ada`, `ada${space}`, space]);

  await t.test('is refused in header, body, query, key binding and session', async (t) => {
    for (const identity of wrong) {
      const name = encodeURIComponent(identity);
      t.match(await gateway.request('GET', '/connections', { headers: { 'x-user-id': encoded(identity) } }), { status: 400, json: { code: 'invalid_request', errors: [{ field: 'header.x-user-id' }] } }, name);
      t.match(await gateway.request('GET', `/connections?identity=${encodeURIComponent(identity)}`), { status: 400, json: { code: 'invalid_request', errors: [{ field: 'query.identity' }] } }, name);
      for (const path of ['/authkit/token', '/authkit/sessions', '/connections/sync']) {
        t.match(await gateway.request('POST', path, { json: { identity } }), { status: 400, json: { code: 'invalid_request', errors: [{ field: 'body.identity' }] } }, `${path} ${name}`);
        t.match(await gateway.request('POST', path, { json: { user_id: identity } }), { status: 400, json: { code: 'invalid_request', errors: [{ field: 'body.user_id' }] } }, `${path} ${name}`);
      }
      const bound = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['proxy'], identity } });
      t.match(bound, { status: 400, json: { code: 'invalid_request', errors: [{ field: 'body.identity' }] } }, name);
    }
    t.equal(await gateway.database.prisma.authkitSession.count(), 0);
    t.equal(await gateway.database.prisma.apiKey.count(), 0);
  });

  await t.test('inside of one it stays', async (t) => {
    for (const identity of ['Ada Lovelace', 'a\u3000b', 'a \u00a0 b']) {
      const { token } = await openSession(gateway, { identity });
      t.equal((await asBearer(gateway, token)('GET', '/connections', { headers: { 'x-user-id': encoded(identity), ...browser } })).status, 200, encodeURIComponent(identity));
    }
  });

  await t.test('128 characters are 128 code points, however they are written', async (t) => {
    const [fits, over] = ['🚀'.repeat(128), '🚀'.repeat(129)];
    for (const [identity, status] of [[fits, 201], [over, 400]] as const) {
      t.equal((await gateway.request('POST', '/authkit/sessions', { json: { identity } })).status, status);
      t.equal((await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['proxy'], identity } })).status, status);
      t.equal((await gateway.request('POST', '/api-keys', { json: { name: identity, scopes: ['proxy'] } })).status, status);
    }
  });
});
