import Type, { type Static, type TSchema, type TSchemaOptions } from 'typebox';
import { catalogue, type ProblemCode } from './errors.js';

/** A value or null. */
export const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** One of some words; said as an enum, which reads better than a union of constants in documents and in errors. */
export const OneOf = <const T extends readonly string[]>(values: T, options: TSchemaOptions = {}) =>
  Type.Unsafe<T[number]>({ type: 'string', enum: [...values], ...options });

/** A reference to a schema that was added under its `$id`. */
export const Ref = <T extends TSchema>(schema: T, description = '') =>
  Type.Unsafe<Static<T>>({ $ref: `${(schema as { $id?: string }).$id}#`, ...(description ? { description } : {}) });

/** A moment, ISO 8601 in UTC with milliseconds. */
export const Time = Type.String({ format: 'date-time' });

/** Text that a person reads, without control characters. */
export const printable = '^[^\\u0000-\\u001f\\u007f]*$';

/** `:id` in a path. */
export const IdParams = Type.Object({ id: Type.String({ format: 'uuid' }) });

/** `limit` and `cursor` of a keyset list: 1–100, 20 unless given. */
export const PageQuery = {
  limit: Type.Integer({ minimum: 1, maximum: 100, default: 20, description: 'Rows of a page.' }),
  cursor: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: '`nextCursor` of the page before.' })),
};

/** A problem document (RFC 9457). */
export const ProblemSchema = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  code: Type.String({ description: 'Stable; the same as the header x-authkit-error.' }),
  detail: Type.String(),
  requestId: Type.String(),
  errors: Type.Optional(Type.Array(Type.Object({ field: Type.String(), message: Type.String() }))),
}, { $id: 'Problem', additionalProperties: true });

/** Problems any route that asks for a key may answer with. */
const everywhere = [
  'invalid_request', 'key_in_query', 'unauthorized', 'insufficient_scope', 'identity_not_trusted', 'rate_limited', 'internal_error',
  'service_unavailable',
] as const;
/** Problems of a route that takes a JSON body. */
export const bodyProblems = ['request_timeout', 'payload_too_large', 'unsupported_media_type'] as const;
/** Problems of a route that browser sessions may use. */
export const sessionProblems = ['origin_not_allowed', 'identity_provider_unavailable'] as const;
/** Problems of a route that needs the upstream. */
export const upstreamProblems = [
  'upstream_unreachable', 'upstream_unauthorized', 'upstream_forbidden', 'upstream_quota_exceeded', 'upstream_invalid_response', 'upstream_timeout',
  'upstream_rate_limited',
] as const;

/** OpenAPI responses for the given problem codes and those of every authenticated route, grouped by status. */
export function problems(...codes: ProblemCode[]): Record<number, TSchema> {
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of [...everywhere, ...codes]) {
    const { status } = catalogue[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries([...byStatus].sort(([one], [other]) => one - other).map(([status, some]) => [status, problemResponse(status, some)]));
}

/** OpenAPI responses of a route that asks for no key. */
export function publicProblems(): Record<number, TSchema> {
  return { 400: problemResponse(400, ['key_in_query']), 500: problemResponse(500, ['internal_error']) };
}

function problemResponse(status: number, codes: ProblemCode[]) {
  const code = codes[0]!;
  return {
    description: codes.map((name) => `\`${name}\`: ${catalogue[name].title}.`).join(' '),
    headers: { 'x-authkit-error': { type: 'string', description: 'The code.' } },
    content: {
      'application/problem+json': {
        schema: { $ref: 'Problem#' },
        example: {
          type: `urn:authkit-gateway:problem:${code}`, title: catalogue[code].title, status, code, detail: `${catalogue[code].title}.`,
          requestId: '4f0c4ab2-6a0e-4f8e-9f57-0e2f0c7b1a11',
        },
      },
    },
  } as unknown as TSchema;
}
