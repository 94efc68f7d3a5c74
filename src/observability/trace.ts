import { type Attributes, type Context, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace, TraceFlags, type Tracer } from '@opentelemetry/api';
import { parseTraceParent } from '@opentelemetry/core';
import {
  ATTR_ERROR_TYPE, ATTR_HTTP_REQUEST_METHOD, ATTR_HTTP_REQUEST_RESEND_COUNT, ATTR_HTTP_RESPONSE_STATUS_CODE, ATTR_HTTP_ROUTE, ATTR_SERVER_ADDRESS,
  ATTR_SERVER_PORT,
} from '@opentelemetry/semantic-conventions';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** What makes spans, and the upstream that calls go to. */
export type Tracing = Readonly<{ tracer: Tracer; upstream: URL }>;

/**
 * The server span of one request, child of the caller's where `traceparent` is valid (W3C Trace Context), and the maker of
 * the spans of its calls. Attributes are those of OpenTelemetry's HTTP conventions that hold nothing of the caller's: no
 * path, query, header or identity.
 */
export class RequestTrace {
  readonly traceId: string;
  readonly #span: Span;
  readonly #context: Context;
  readonly #tracestate: string | undefined;
  readonly #now = startClock();
  #attempts = 0;

  constructor(private readonly tracing: Tracing, { method, headers, routeOptions }: FastifyRequest) {
    const parent = parentOf(headers['traceparent']);
    // Passed on as it came, and not taken into the span: it is exported nowhere. Without a parent it means nothing.
    this.#tracestate = parent && [headers['tracestate']].flat().join(',');
    const route = routeOptions.url;
    this.#span = tracing.tracer.startSpan(route === undefined ? nameOf(method) : `${nameOf(method)} ${route}`, {
      kind: SpanKind.SERVER,
      startTime: this.#now(),
      attributes: { [ATTR_HTTP_REQUEST_METHOD]: knownMethod(method), ...(route === undefined ? {} : { [ATTR_HTTP_ROUTE]: route }) },
    }, parent ?? ROOT_CONTEXT);
    this.#context = trace.setSpan(ROOT_CONTEXT, this.#span);
    this.traceId = this.#span.spanContext().traceId;
  }

  /** A call to the upstream. */
  call(method: string): UpstreamSpan {
    return this.#start(method, {});
  }

  /** A try at the one call that this request is forwarded as; from the second on, each is numbered. */
  attempt(method: string): UpstreamSpan {
    const resent = this.#attempts;
    this.#attempts += 1;
    return this.#start(method, resent === 0 ? {} : { [ATTR_HTTP_REQUEST_RESEND_COUNT]: resent });
  }

  /** The answer is over, whole or not. Problems of ours are told by their code. */
  end(reply: FastifyReply): void {
    const { headersSent, statusCode, writableFinished } = reply.raw;
    if (headersSent) this.#span.setAttribute(ATTR_HTTP_RESPONSE_STATUS_CODE, statusCode);
    const error = writableFinished ? reply.getHeader('x-authkit-error') ?? (statusCode >= 500 ? statusCode : undefined) : 'unfinished';
    if (error !== undefined) this.#span.setAttribute(ATTR_ERROR_TYPE, String(error));
    if (!writableFinished || statusCode >= 500) this.#span.setStatus({ code: SpanStatusCode.ERROR });
    this.#span.end(this.#now());
  }

  #start(method: string, more: Attributes): UpstreamSpan {
    const { tracer, upstream } = this.tracing;
    return new UpstreamSpan(tracer.startSpan(nameOf(method), {
      kind: SpanKind.CLIENT,
      startTime: this.#now(),
      attributes: { [ATTR_HTTP_REQUEST_METHOD]: knownMethod(method), [ATTR_SERVER_ADDRESS]: upstream.hostname, [ATTR_SERVER_PORT]: portOf(upstream), ...more },
    }, this.#context), this.#tracestate, this.#now);
  }
}

/** The client span of one call to the upstream. */
export class UpstreamSpan {
  /** What makes the upstream's spans children of this one: `traceparent`, and the caller's `tracestate`. */
  readonly headers: Readonly<Record<string, string>>;
  #failed = false;

  constructor(private readonly span: Span, tracestate: string | undefined, private readonly now: () => number) {
    const { traceId, spanId, traceFlags } = span.spanContext();
    const traceparent = `00-${traceId}-${spanId}-${traceFlags & TraceFlags.SAMPLED ? '01' : '00'}`;
    this.headers = tracestate ? { traceparent, tracestate } : { traceparent };
  }

  answered(status: number): void {
    this.span.setAttribute(ATTR_HTTP_RESPONSE_STATUS_CODE, status);
    if (status >= 400) this.#fail(String(status));
  }

  /** No usable answer; of several reasons the first is kept. */
  failed(error: unknown): void {
    const { code, name } = error as { code?: unknown; name?: unknown };
    this.#fail(String(code ?? name));
  }

  end(): void {
    this.span.end(this.now());
  }

  #fail(type: string): void {
    if (this.#failed) return;
    this.#failed = true;
    this.span.setAttribute(ATTR_ERROR_TYPE, type).setStatus({ code: SpanStatusCode.ERROR });
  }
}

// One clock for all spans of a request: the SDK counts each from a start cut to whole milliseconds, so that a call could
// seem to end after the request that made it.
function startClock(): () => number {
  const [epochMs, startedAt] = [Date.now(), performance.now()];
  return () => epochMs + performance.now() - startedAt;
}

function parentOf(traceparent: string | string[] | undefined): Context | undefined {
  const parent = typeof traceparent === 'string' ? parseTraceParent(traceparent) : null;
  return parent ? trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true }) : undefined;
}

// The conventions' list: what else a caller makes up must not become a name.
const known = new Set(['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE']);

function knownMethod(method: string): string {
  return known.has(method) ? method : '_OTHER';
}

function nameOf(method: string): string {
  return known.has(method) ? method : 'HTTP';
}

function portOf({ port, protocol }: URL): number {
  return Number(port) || (protocol === 'https:' ? 443 : 80);
}
