/** The upstream's error catalogue: type → code and HTTP status (shared/upstream.md, "Rate limits and errors"). */
const CATALOGUE = {
  BadRequest: [2000, 400],
  Conflict: [2001, 409],
  Forbidden: [2002, 403],
  InternalServerError: [2003, 500],
  MethodNotAllowed: [2004, 405],
  NotFound: [2005, 404],
  NotImplemented: [2006, 501],
  FailedDependency: [2007, 424],
  ServiceUnavailable: [2008, 503],
  TooManyRequests: [2009, 429],
  Unauthorized: [2010, 401],
  UnprocessableEntity: [2011, 422],
} as const;

/** The types of Pica's error bodies. */
export type ErrorType = keyof typeof CATALOGUE;
/** The prefix of Pica's headers; `one` is the older. */
export type HeaderPrefix = 'pica' | 'one';

/** An error the simulated API answers with its documented body. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: number;

  constructor(
    readonly type: ErrorType,
    message: string,
    readonly meta: unknown = null,
  ) {
    super(message);
    [this.code, this.status] = CATALOGUE[type];
  }
}

/** The error an HTTP status stands for; a status outside the catalogue becomes InternalServerError. */
export function errorForStatus(status: number, message: string): ApiError {
  const types = Object.keys(CATALOGUE) as ErrorType[];
  const type = types.find((candidate) => CATALOGUE[candidate][1] === status);
  return new ApiError(type ?? 'InternalServerError', message);
}

/** The body of an error: Pica's, or One's for a caller that speaks `x-one-*`. */
export function errorBody(error: ApiError, prefix: HeaderPrefix, correlationId: string): Record<string, unknown> {
  const key = `err::application::${error.type.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toLowerCase()}`;
  const { type, code, status, message, meta } = error;
  if (prefix === 'one') return { correlationId, key, message, type, status };
  return { type, code, status, key, message, meta };
}
