import t from 'tap';
import { startGateway } from './helpers/gateway.js';
import { buildValidator, type Validate } from '../src/validators.js';
import { maxJsonBytes } from '../src/json-bodies.js';

/** What looking at a value may cost: reads of members, those that name them included. */
const budget = 10_000;

type Compile = (route: { schema: object; httpPart: string }) => Validate;

t.test('no JSON body that is taken costs more than a bounded number of looks at it', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const { paths, components } = (await gateway.request('GET', '/openapi.json', { key: null })).json;
  const compile = (buildValidator as unknown as (schemas: unknown) => Compile)({});
  let judged = 0;
  for (const [path, methods] of Object.entries(paths) as [string, Record<string, any>][]) {
    for (const [method, { requestBody }] of Object.entries(methods)) {
      const schema = requestBody?.content['application/json']?.schema;
      if (!schema) continue;
      const validate = compile({ schema: resolve(schema, components), httpPart: 'body' });
      let [mostReads, mostMistakes] = [0, 0];
      for (const body of [...new Set(['surprise', 'metadata', ...arrayMembers(schema)])].flatMap(hostileBodies)) {
        if (JSON.stringify(body).length > maxJsonBytes) throw new Error('it does not fit into a body');
        const { value, reads } = counted(body);
        const found = mistakes(validate, value);
        judged += 1;
        mostReads = Math.max(mostReads, reads());
        mostMistakes = Math.max(mostMistakes, found);
      }
      t.ok(mostReads <= budget, `${method} ${path}: ${mostReads} looks`);
      t.ok(mostMistakes <= 2_000, `${method} ${path}: ${mostMistakes} mistakes`);
    }
  }
  t.ok(judged > 40, `${judged} bodies were judged`);
});

t.test('a query of thousands of parameters is judged as quickly', async (t) => {
  const compile = (buildValidator as unknown as (schemas: unknown) => Compile)({});
  const validate = compile({ schema: { type: 'object', additionalProperties: false, properties: { limit: { type: 'integer' } } }, httpPart: 'querystring' });
  t.equal(mistakes(validate, Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`p${index}`, '']))), 1);
  t.equal(mistakes(validate, { a: '', b: '', limit: 'x' }), 3, 'a short one has all its mistakes named');
  t.equal(mistakes(validate, { limit: '5' }), 0);
});

function mistakes(validate: Validate, input: unknown): number {
  const result = validate(input);
  return result === true ? 0 : result.error.length;
}

/** Bodies of nearly 64 KiB whose member `name` is as long, as deep or as wrong as it can be. */
function hostileBodies(name: string): Record<string, unknown>[] {
  const members = <T>(count: number, member: (index: number) => T) => Array.from({ length: count }, (_, index) => member(index));
  return [
    { [name]: members(30_000, () => 1) }, { [name]: members(20_000, () => ({})) }, { [name]: members(4_000, (index) => `wrong ${index}`) },
    { [name]: members(15_000, () => 'a') }, { [name]: Object.fromEntries(members(4_000, (index) => [`m${index}`, index])) },
    Object.fromEntries(members(2_500, (index) => [`${name}${index}`, null])), { [name]: 'x'.repeat(60_000) }, { [name]: '[1:'.repeat(20_000) },
    { [name]: members(900, () => 1) }, { [name]: members(50, () => 'x'.repeat(1_200)) },
  ];
}

/** A value as JSON would make it, that counts every look at a member of it. */
function counted(body: object): { value: unknown; reads: () => number } {
  let reads = 0;
  const watch = (value: unknown): unknown => (typeof value !== 'object' || value === null ? value : new Proxy(value, {
    get(target, name, receiver) {
      reads += 1;
      return watch(Reflect.get(target, name, receiver));
    },
    // Naming the members is one look; describing each of them, as Object.keys of a proxy must, is the proxy's own.
    ownKeys(target) {
      reads += 1;
      return Reflect.ownKeys(target);
    },
  }));
  return { value: watch(body), reads: () => reads };
}

/** Names of the members, at any depth of a schema, that hold an array. */
function arrayMembers(schema: any): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const own = Object.entries(schema.properties ?? {}).filter(([, member]) => JSON.stringify(member).includes('"array"')).map(([name]) => name);
  return [...own, ...Object.values(schema).flatMap(arrayMembers)];
}

function resolve(schema: any, components: any): any {
  return JSON.parse(JSON.stringify(schema), (_name, value) => (typeof value?.$ref === 'string' ? components.schemas[value.$ref.split('/').at(-1)] : value));
}
