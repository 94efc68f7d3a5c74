/** Every problem the gateway answers with: its stable code, HTTP status and title (RFC 9457). */
export const catalogue = {
  invalid_request: { status: 400, title: 'The request is not valid' },
  invalid_path: { status: 400, title: 'The path is not allowed' },
  invalid_cursor: { status: 400, title: 'The cursor is not valid' },
  identity_required: { status: 400, title: 'An identity is required' },
  identity_conflict: { status: 400, title: 'The request names two identities' },
  key_in_query: { status: 400, title: 'Credentials do not belong in a query string' },
  unauthorized: { status: 401, title: 'A valid API key is required' },
  insufficient_scope: { status: 403, title: 'The key lacks a scope' },
  unbound_key_required: { status: 403, title: 'The key is bound to one identity' },
  connection_claim_rejected: { status: 403, title: 'The connection is not this identity\'s' },
  identity_not_trusted: { status: 403, title: 'A browser\'s word about who its user is does not count' },
  origin_not_allowed: { status: 403, title: 'The credential is not for this origin' },
  platform_not_allowed: { status: 403, title: 'The session is not for this platform' },
  not_found: { status: 404, title: 'Not found' },
  connection_not_found: { status: 404, title: 'No such connection' },
  integration_not_found: { status: 404, title: 'No such integration' },
  session_not_found: { status: 404, title: 'No such session' },
  api_key_not_found: { status: 404, title: 'No such API key' },
  webhook_not_found: { status: 404, title: 'No such webhook' },
  webhook_delivery_not_found: { status: 404, title: 'No such webhook delivery' },
  method_not_allowed: { status: 405, title: 'The method is not allowed here' },
  request_timeout: { status: 408, title: 'The request did not arrive in time' },
  connection_ambiguous: { status: 409, title: 'Several connections fit' },
  reconnect_required: { status: 409, title: 'The connection has to be authorised again' },
  connection_owned_by_other: { status: 409, title: 'The connection belongs to another identity' },
  api_key_not_active: { status: 409, title: 'The API key is no longer active' },
  idempotency_in_progress: { status: 409, title: 'The first request with this key is running' },
  idempotency_outcome_unknown: { status: 409, title: 'Whether the write took place is not known' },
  idempotency_answer_not_kept: { status: 409, title: 'The first answer was not kept' },
  webhook_delivery_not_waiting: { status: 409, title: 'The webhook delivery cannot be retried' },
  sync_in_progress: { status: 409, title: 'A sync of everything is already running' },
  payload_too_large: { status: 413, title: 'The request body is too large' },
  unsupported_media_type: { status: 415, title: 'The content type is not supported' },
  expectation_failed: { status: 417, title: 'The expectation cannot be met' },
  host_not_allowed: { status: 421, title: 'The host is not one of this gateway' },
  environment_mismatch: { status: 422, title: 'The key is of another environment' },
  platform_mismatch: { status: 422, title: 'The platform contradicts the key' },
  invalid_connection_key: { status: 422, title: 'The connection key is malformed' },
  idempotency_key_reused: { status: 422, title: 'The Idempotency-Key belongs to another request' },
  webhook_target_refused: { status: 422, title: 'The webhook\'s target is not allowed' },
  action_mismatch: { status: 422, title: 'The action does not fit the call' },
  headers_too_large: { status: 431, title: 'The request line and headers are too large' },
  rate_limited: { status: 429, title: 'Too many requests' },
  upstream_rate_limited: { status: 429, title: 'The upstream limits our rate' },
  internal_error: { status: 500, title: 'Internal error' },
  upgrade_not_supported: { status: 501, title: 'The connection cannot change its protocol' },
  upstream_unreachable: { status: 502, title: 'The upstream cannot be reached' },
  upstream_unauthorized: { status: 502, title: 'The upstream refused our secret' },
  upstream_forbidden: { status: 502, title: 'The upstream forbids the call' },
  upstream_quota_exceeded: { status: 502, title: 'The upstream asks for payment: its quota is used up' },
  upstream_invalid_response: { status: 502, title: 'The upstream answered in an unexpected shape' },
  overloaded: { status: 503, title: 'Too many calls are in flight' },
  upstream_circuit_open: { status: 503, title: 'The upstream does not answer' },
  identity_provider_unavailable: { status: 503, title: 'The identity provider cannot be asked' },
  service_unavailable: { status: 503, title: 'The service is not available right now' },
  upstream_timeout: { status: 504, title: 'The upstream took too long' },
} as const satisfies Record<string, { status: number; title: string }>;

/** A code of the catalogue. */
export type ProblemCode = keyof typeof catalogue;

/** One thing wrong with the input: `field` is where it stands (a path such as `body.tags.0` or a header's name). */
export type FieldProblem = { field: string; message: string };

/** What a Problem may carry besides its code and detail. */
export type ProblemExtras = {
  errors?: FieldProblem[];
  /** Response headers, such as `retry-after`. */
  headers?: Record<string, string>;
  /** Further members of the problem document (RFC 9457 §3.2), such as `connections`. */
  members?: Record<string, unknown>;
  /** Part of normal service although its status is 5xx: it gets no line of its own in the log. */
  expected?: true;
  /** The internal reason: logged, never sent. */
  cause?: unknown;
};

/** A failure with an owner: thrown anywhere, rendered once by the error handler. `detail` is public. */
export class Problem extends Error {
  readonly status: number;

  constructor(readonly code: ProblemCode, readonly detail: string, readonly extras: ProblemExtras = {}) {
    super(`${code}: ${detail}`, { cause: extras.cause });
    this.name = 'Problem';
    this.status = catalogue[code].status;
  }
}

/** The RFC 9457 document of a problem. */
export function problemDocument(problem: Problem, requestId: string): Record<string, unknown> {
  return {
    ...problem.extras.members,
    type: `urn:authkit-gateway:problem:${problem.code}`,
    title: catalogue[problem.code].title,
    status: problem.status,
    code: problem.code,
    detail: problem.detail,
    requestId,
    ...(problem.extras.errors ? { errors: problem.extras.errors } : {}),
  };
}
