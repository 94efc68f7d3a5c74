import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import type { FastifyServerOptions } from 'fastify';
import { isOrigin } from './origin.js';

type ValidatorFactory = NonNullable<NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>['buildValidator']>;

/**
 * Fastify's validator factory (`schemaController.compilersFactory.buildValidator`): reports every problem and changes
 * nothing. Unknown members are refused where a schema says so, not dropped, and only what arrives as text anyway (query,
 * path, headers) is coerced. Defaults are filled in.
 */
export const buildValidator = ((externalSchemas: unknown) => {
  const body = createAjv(externalSchemas, false);
  const text = createAjv(externalSchemas, true);
  return ({ schema, httpPart }: { schema: object; httpPart: string }) => (httpPart === 'body' ? body : text).compile(schema);
}) as unknown as ValidatorFactory;

function createAjv(externalSchemas: unknown, coerceTypes: boolean): Ajv {
  const ajv = new Ajv({ allErrors: true, useDefaults: true, removeAdditional: false, strict: false, coerceTypes });
  addFormats.default(ajv);
  // ajv-formats' own also takes the URN form (`urn:uuid:…`), which no column of ours does.
  ajv.addFormat('uuid', /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i);
  ajv.addFormat('origin', isOrigin);
  for (const [id, schema] of Object.entries(externalSchemas ?? {})) ajv.addSchema(schema as object, id);
  return ajv;
}
