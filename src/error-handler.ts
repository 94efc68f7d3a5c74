import type { FastifyError, FastifyReply, FastifyRequest, FastifySchemaValidationError } from 'fastify';
import fp from 'fastify-plugin';
import { setAnswerHeaders } from './answer-headers.js';
import { Problem, type FieldProblem, problemDocument } from './errors.js';
import type { Refusal } from './http/unparsed.js';
import { hasBody } from './json-bodies.js';
import { isDatabaseUnavailable } from './persistence/unavailable.js';

/** Renders every failure as `application/problem+json` (RFC 9457) with `x-authkit-error`; unknown ones as a bare 500. */
export const errorHandler = fp(async (app) => {
  const routes: { method: string; url: string; pattern: RegExp }[] = [];
  app.addHook('onRoute', ({ method, url }) => {
    if (url === '*') return;
    for (const name of [method].flat()) routes.push({ method: name, url, pattern: toPattern(url) });
  });

  app.setErrorHandler((error: FastifyError, request, reply) => sendProblem(request, reply, toProblem(error)));

  app.setNotFoundHandler((request, reply) => sendProblem(request, reply, unmatched(request)));

  // Before its body is read: no body makes a route.
  app.addHook('preParsing', (request, _reply, payload, done) => {
    if (request.is404 && hasBody(request.raw)) done(unmatched(request));
    else done(null, payload);
  });

  function unmatched(request: FastifyRequest): Problem {
    const path = request.url.split('?', 1)[0]!;
    // As the router does: a route without parameters hides those with.
    const literal = routes.filter(({ url }) => url === path);
    const matching = literal.length > 0 ? literal : routes.filter(({ pattern }) => pattern.test(path));
    const allowed = [...new Set(matching.map(({ method }) => method))].sort();
    // A route that answers this method, and then says that there is nothing (files under /docs), is no matter of the method.
    if (allowed.length === 0 || allowed.includes(request.method)) return new Problem('not_found', 'There is no such route.');
    return new Problem('method_not_allowed', `This route answers ${allowed.join(', ')}.`, { headers: { allow: allowed.join(', ') } });
  }
}, { name: 'error-handler' });

/**
 * Fastify's `frameworkErrors`: answers what fails before a route is found (a path that cannot be decoded, a part of it too
 * long), and tells `report`, because no hook hears of it.
 */
export function frameworkErrorHandler(report: (refusal: Refusal) => void) {
  return (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void => {
    const detail = error.code === 'FST_ERR_MAX_PARAM_LENGTH' ? 'A part of the path is too long.' : 'The path cannot be read.';
    const problem = new Problem('invalid_path', detail);
    // The hooks do not run for it.
    setAnswerHeaders(reply);
    sendProblem(request, reply.header('x-request-id', request.id), problem);
    report({ requestId: request.id, method: request.method, status: problem.status, code: problem.code });
  };
}

/** Answers with the problem's document, code header and extra headers; logs what is ours or the upstream's to mend. */
function sendProblem(request: FastifyRequest, reply: FastifyReply, problem: Problem): FastifyReply {
  if (problem.status >= 500 && !problem.extras.expected) request.log.error({ err: problem.extras.cause ?? problem, code: problem.code }, 'request failed');
  else if (problem.status < 500 && problem.code.startsWith('upstream_')) request.log.warn({ err: problem.extras.cause ?? problem, code: problem.code }, 'request failed');
  return reply
    .code(problem.status)
    .headers({ ...problem.extras.headers, 'x-authkit-error': problem.code, 'cache-control': 'no-store' })
    .type('application/problem+json')
    .serializer(JSON.stringify)
    .send(problemDocument(problem, request.id));
}

/** Any failure as a Problem of the catalogue; what nobody owns becomes `internal_error` with the failure as its cause. */
export function toProblem(error: FastifyError): Problem {
  if (error instanceof Problem) return error;
  if (error.validation) {
    return new Problem('invalid_request', 'The request does not fit its schema; see errors.', { errors: fieldProblems(error) });
  }
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new Problem('payload_too_large', 'The request body is larger than this route accepts.');
  }
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new Problem('unsupported_media_type', 'This route takes application/json.');
  }
  if (error.statusCode === 403 || error.statusCode === 404) return new Problem('not_found', 'There is no such route.');
  if (isDatabaseUnavailable(error)) {
    return new Problem('service_unavailable', 'The database does not answer right now; try again.', { cause: error, headers: { 'retry-after': '1' } });
  }
  if (error.statusCode === 400) {
    return new Problem('invalid_request', 'The request could not be read.', {
      errors: [{ field: 'body', message: 'is not valid JSON' }],
    });
  }
  return new Problem('internal_error', 'Something went wrong on our side; the request id finds it in our logs.', { cause: error });
}

/** Of a body with thousands of mistakes, so many are named: the answer must not be larger than the question. */
const maxFieldProblems = 20;

function toPattern(url: string): RegExp {
  const source = url.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/:[A-Za-z]+/g, '[^/]+').replace(/\*/g, '.*');
  return new RegExp(`^${source}$`);
}

function fieldProblems(error: FastifyError): FieldProblem[] {
  const where = { body: 'body', querystring: 'query', params: 'path', headers: 'header' }[error.validationContext ?? 'body'] ?? 'body';
  return (error.validation ?? []).filter(saysWhatIsWrong).slice(0, maxFieldProblems).map(({ instancePath, keyword, message, params }) => {
    const missing = keyword === 'required' ? `/${String(params['missingProperty'])}` : '';
    const unknown = keyword === 'additionalProperties' ? `/${String(params['additionalProperty'])}` : '';
    const allowed = keyword === 'enum' ? params['allowedValues'] as unknown[] : undefined;
    return {
      field: `${where}${instancePath}${missing}${unknown}`.replaceAll('/', '.'),
      message: unknown ? 'is not a known field' : missing ? 'is required' : allowed ? `must be one of ${allowed.join(', ')}` : message ?? 'is not valid',
    };
  });
}

// `if` and `anyOf` only say that a branch failed, whose own errors come beside them. Every anyOf of ours is "or null".
function saysWhatIsWrong({ keyword, params }: FastifySchemaValidationError): boolean {
  return keyword !== 'if' && keyword !== 'anyOf' && !(keyword === 'type' && params['type'] === 'null');
}
