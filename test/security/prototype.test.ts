import t from 'tap';
import { startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

type Operation = { requestBody?: unknown };

t.test('__proto__ in every JSON body', async (t) => {
  const { gateway } = await startBoth(t);
  const document = (await gateway.request('GET', '/openapi.json')).json as { paths: Record<string, Record<string, Operation>> };
  const bodies = [
    '{"__proto__":{"scopes":["*"]}}', '{"\\u005f_proto__":{"identity":"bob"}}', '{"constructor":{"prototype":{"identity":"bob"}}}',
    '{"metadata":{"__proto__":{"x":1}}}', '{"reconnect":{"__proto__":{"connectionId":"x"}}}', '{"tags":[{"__proto__":[]}]}', '[{"__proto__":1}]',
  ];
  const checked: string[] = [];
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      if (!operation.requestBody || path.startsWith('/proxy')) continue;
      const url = path.replace('{id}', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87').replace(/\{deliveryId\}|\{delivery\}/, '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a88');
      for (const body of bodies) {
        const answer = await gateway.request(method.toUpperCase(), url, { body, headers: { 'content-type': 'application/json', 'x-user-id': 'ada' } });
        t.match(answer, { status: 400, json: { code: 'invalid_request' } }, `${method} ${path} ${body}`);
      }
      checked.push(`${method} ${path}`);
    }
  }
  t.ok(['post /authkit/token', 'post /authkit/sessions', 'post /connections', 'patch /connections/{id}', 'post /api-keys'].every((route) => checked.includes(route)), checked.join(', '));
  t.equal(({} as Record<string, unknown>)['scopes'], undefined);
  t.equal(({} as Record<string, unknown>)['identity'], undefined);
  t.equal(await gateway.database.prisma.apiKey.count(), 0);
});
