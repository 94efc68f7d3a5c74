import type { UpstreamSpan } from '../observability/trace.js';
import type { AnswerHandler, Passthrough } from './passthrough.js';

/** The same passthrough, with a span for each try of a call that has a trace; its `traceparent` replaces the caller's. */
export function tracePassthrough(passthrough: Passthrough): Passthrough {
  return {
    ...passthrough,
    send(call, handler, headersTimeoutMs) {
      const span = call.trace?.attempt(call.method);
      if (!span) return passthrough.send(call, handler, headersTimeoutMs);
      passthrough.send({ ...call, headers: replaceTrace(call.headers, span) }, new TracedAnswer(handler, span), headersTimeoutMs);
    },
  };
}

/** Hands everything on, and tells the span of it. */
class TracedAnswer implements AnswerHandler {
  constructor(private readonly handler: AnswerHandler, private readonly span: UpstreamSpan) {}

  onConnect(...given: Parameters<AnswerHandler['onConnect']>): void {
    this.handler.onConnect(...given);
  }

  onHeaders(...given: Parameters<AnswerHandler['onHeaders']>): void {
    // Interim answers (1xx) come before the one that counts.
    if (given[0] >= 200) this.span.answered(given[0]);
    this.handler.onHeaders(...given);
  }

  onData(chunk: Buffer): boolean {
    return this.handler.onData(chunk);
  }

  onComplete(...given: Parameters<AnswerHandler['onComplete']>): void {
    this.span.end();
    this.handler.onComplete(...given);
  }

  onError(error: Error): void {
    this.span.failed(error);
    this.span.end();
    this.handler.onError(error);
  }
}

function replaceTrace(headers: readonly string[], span: UpstreamSpan): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    if (!/^trace(?:parent|state)$/i.test(headers[i]!)) kept.push(headers[i]!, headers[i + 1]!);
  }
  return [...kept, ...Object.entries(span.headers).flat()];
}
