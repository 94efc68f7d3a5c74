import { type Options, type RouteDefinition, SerializerSelector } from '@fastify/fast-json-stringify-compiler';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import type { FastifyServerOptions } from 'fastify';
import { isOrigin } from './origin.js';

type Compilers = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>;
type ValidatorFactory = NonNullable<Compilers['buildValidator']>;
type SerializerFactory = NonNullable<Compilers['buildSerializer']>;

/** Inputs of up to this many members have every mistake reported; of larger ones, the first. */
const mostMembers = 1_000;

/** Judges an input and fills in defaults: true, or what is wrong with it. */
export type Validate = (input: unknown) => true | { error: ErrorObject[] };

/**
 * Fastify's validator factory (`schemaController.compilersFactory.buildValidator`): reports every problem of an input with
 * up to 1,000 members, the first one of a larger input, and changes nothing. Unknown members are refused where a schema says
 * so, not dropped, and only what arrives as text anyway (query, path, headers) is coerced. Defaults are filled in. A schema
 * is compiled when its route is first called.
 *
 * An input is first judged up to its first mistake, which visits no member of an array that is too long: collecting every
 * mistake of 64 KiB of wrong array members would hold the event loop for tens of milliseconds.
 */
export const buildValidator = ((externalSchemas: unknown) => {
  const body = createCompiler(externalSchemas, false);
  const text = createCompiler(externalSchemas, true);
  return ({ schema, httpPart }: { schema: object; httpPart: string }) => (httpPart === 'body' ? body : text)(schema);
}) as unknown as ValidatorFactory;

function createCompiler(externalSchemas: unknown, coerceTypes: boolean): (schema: object) => Validate {
  let first: Ajv | undefined;
  let all: Ajv | undefined;
  return (schema) => {
    let toFirst: ValidateFunction | undefined;
    let throughout: ValidateFunction | undefined;
    return (input) => {
      toFirst ??= (first ??= createAjv(externalSchemas, { coerceTypes, allErrors: false })).compile(schema);
      if (toFirst(input)) return true;
      const error = toFirst.errors ?? [];
      if (hasMoreMembers(input, mostMembers)) return { error };
      throughout ??= (all ??= createAjv(externalSchemas, { coerceTypes, allErrors: true })).compile(schema);
      return { error: throughout(input) ? error : throughout.errors ?? error };
    };
  };
}

/**
 * Fastify's serializer factory (`schemaController.compilersFactory.buildSerializer`): its own compiler
 * (fast-json-stringify), used when a route first answers with that status.
 */
export const buildSerializer = ((externalSchemas: unknown, options: unknown) => {
  const compile = SerializerSelector()(externalSchemas, options as Options);
  return (definition: RouteDefinition) => {
    let compiled: ((data: unknown) => string) | undefined;
    return (data: unknown) => (compiled ??= compile(definition) as (data: unknown) => string)(data);
  };
}) as unknown as SerializerFactory;

function createAjv(externalSchemas: unknown, options: { coerceTypes: boolean; allErrors: boolean }): Ajv {
  const ajv = new Ajv({ useDefaults: true, removeAdditional: false, strict: false, ...options });
  addFormats.default(ajv);
  // ajv-formats' own also takes the URN form (`urn:uuid:…`), which no column of ours does.
  ajv.addFormat('uuid', /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i);
  ajv.addFormat('origin', isOrigin);
  for (const [id, schema] of Object.entries(externalSchemas ?? {})) ajv.addSchema(schema as object, id);
  return ajv;
}

/** Whether a JSON value has more than `most` members, those of its members included; looks at no more than that many. */
function hasMoreMembers(value: unknown, most: number): boolean {
  const within = [value];
  let members = 0;
  for (let next = within.pop(); next !== undefined; next = within.pop()) {
    if (typeof next !== 'object' || next === null) continue;
    const inner: readonly unknown[] = Array.isArray(next) ? next : Object.keys(next);
    members += inner.length;
    if (members > most) return true;
    within.push(...(inner === next ? inner : Object.values(next)));
  }
  return false;
}
