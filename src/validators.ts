import { type Options, type RouteDefinition, SerializerSelector } from '@fastify/fast-json-stringify-compiler';
import { Ajv, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import type { FastifyServerOptions } from 'fastify';
import { isOrigin } from './origin.js';

type Compilers = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>;
type ValidatorFactory = NonNullable<Compilers['buildValidator']>;
type SerializerFactory = NonNullable<Compilers['buildSerializer']>;

/**
 * Fastify's validator factory (`schemaController.compilersFactory.buildValidator`): reports every problem and changes
 * nothing. Unknown members are refused where a schema says so, not dropped, and only what arrives as text anyway (query,
 * path, headers) is coerced. Defaults are filled in. A schema is compiled when its route is first called.
 */
export const buildValidator = ((externalSchemas: unknown) => {
  let body: Ajv | undefined;
  let text: Ajv | undefined;
  return ({ schema, httpPart }: { schema: object; httpPart: string }) => {
    let compiled: ValidateFunction | undefined;
    return (data: unknown) => {
      compiled ??= (httpPart === 'body' ? (body ??= createAjv(externalSchemas, false)) : (text ??= createAjv(externalSchemas, true))).compile(schema);
      return compiled(data) || { error: compiled.errors };
    };
  };
}) as unknown as ValidatorFactory;

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

function createAjv(externalSchemas: unknown, coerceTypes: boolean): Ajv {
  const ajv = new Ajv({ allErrors: true, useDefaults: true, removeAdditional: false, strict: false, coerceTypes });
  addFormats.default(ajv);
  // ajv-formats' own also takes the URN form (`urn:uuid:…`), which no column of ours does.
  ajv.addFormat('uuid', /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i);
  ajv.addFormat('origin', isOrigin);
  for (const [id, schema] of Object.entries(externalSchemas ?? {})) ajv.addSchema(schema as object, id);
  return ajv;
}
