import { readFile } from 'node:fs/promises';
import t from 'tap';
import { scopes } from '../src/auth/scopes.js';
import { startGateway } from './helpers/gateway.js';

t.test('the document shows each operation\'s summary, scope, example and problem answers', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const document = (await gateway.request('GET', '/openapi.json', { key: null })).json;
  t.equal(document.openapi, '3.1.0');
  let operations = 0;
  for (const [path, methods] of Object.entries(document.paths) as [string, Record<string, any>][]) {
    for (const [method, operation] of Object.entries(methods)) {
      const name = `${method} ${path}`;
      operations += 1;
      t.ok(operation.summary && operation.operationId, `${name} has a summary and an id`);
      t.ok(Array.isArray(operation.security), `${name} says what it asks`);
      if (operation.security.length > 0) t.ok(operation['x-scope'] in scopes, `${name} names its scope`);
      t.ok(Object.keys(operation.responses).some((status) => status.startsWith('4')), `${name} has problem answers`);
      t.match(JSON.stringify(operation.responses), /problem\+json/, name);
      const success = Object.entries(operation.responses).find(([status]) => status.startsWith('2') || status === 'default') as [string, any];
      if (success[0] !== '204') t.match(JSON.stringify(resolve(success[1], document)), /"examples?":/, `${name} has an example`);
    }
  }
  t.ok(operations >= 16);
});

t.test('the document asks for nothing that a request may leave out', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const document = (await gateway.request('GET', '/openapi.json', { key: null })).json;
  const bodies: Record<string, boolean> = {};
  for (const [path, methods] of Object.entries(document.paths) as [string, Record<string, any>][]) {
    for (const [method, { parameters = [], requestBody }] of Object.entries(methods)) {
      const name = `${method} ${path}`;
      t.same(parameters.filter((one: any) => one.required && one.schema.default !== undefined).map((one: any) => one.name), [], `${name}: parameters`);
      if (!requestBody) continue;
      bodies[name] = requestBody.required;
      for (const content of Object.values(requestBody.content) as any[]) {
        t.same(requiredWithDefault(content.schema), [], `${name}: members`);
        t.match(JSON.stringify(content), /"examples?":/, `${name}: the body has an example`);
      }
    }
  }
  t.same(Object.keys(bodies).filter((name) => !bodies[name]), [
    'post /authkit/token', 'post /authkit/sessions', 'post /connections/sync', 'post /api-keys/{id}/rotate',
    'post /proxy/{platform}/{path}', 'put /proxy/{platform}/{path}', 'patch /proxy/{platform}/{path}',
  ]);

  const { json: { id } } = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['proxy'] } });
  t.equal((await gateway.request('POST', `/api-keys/${id}/rotate`)).status, 201, 'and what it calls optional is');
  t.equal((await gateway.request('POST', '/authkit/sessions', { headers: { 'x-user-id': 'ada' } })).status, 201);
  t.equal((await gateway.request('PATCH', `/connections/${id}`)).status, 400);
});

t.test('the document has the version of the package', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const { version } = JSON.parse(await readFile('package.json', 'utf8'));
  t.equal((await gateway.request('GET', '/openapi.json', { key: null })).json.info.version, version);
});

t.test('the page at /docs is served', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const page = await gateway.request('GET', '/docs', { key: null });
  t.ok([200, 302].includes(page.status));
  const answer = await fetch(`${gateway.url}/docs/`);
  t.equal(answer.status, 200);
  t.match(await answer.text(), /swagger/i);
});

/** Names of the members, at any depth of a schema, that are required and have a default. */
function requiredWithDefault(schema: any): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const own = Array.isArray(schema.required) ? schema.required.filter((name: string) => schema.properties?.[name]?.default !== undefined) : [];
  return [...own, ...Object.values(schema).flatMap(requiredWithDefault)];
}

/** `value` with every reference into the document's components replaced by what it names. */
function resolve(value: any, document: any): any {
  if (Array.isArray(value)) return value.map((item) => resolve(item, document));
  if (typeof value !== 'object' || value === null) return value;
  if (typeof value.$ref === 'string') return document.components.schemas[value.$ref.split('/').at(-1)!];
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, resolve(member, document)]));
}
