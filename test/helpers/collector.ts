import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { fields, type Fields } from './protobuf.js';

/** A span as it arrived. `kind`: 2 = server, 3 = client; `parentId` is empty for a root; `status`: 0 = unset, 2 = error. */
export type Span = {
  traceId: string; id: string; parentId: string; name: string; kind: number; status: number; attributes: Record<string, string | number>; service: string; startedAt: bigint; endedAt: bigint;
};

/** What a collector got: every span, every payload as sent, every request's path and headers. */
export type Collector = {
  url: string; spans: Span[]; payloads: Buffer[]; requests: { path: string; headers: IncomingHttpHeaders }[]; answer: (response: ServerResponse) => void;
};

/** A collector that speaks OTLP/HTTP with protobuf on a port of its own, and answers as `collector.answer` says; closed with the test. */
export async function startCollector(t: Test): Promise<Collector> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const payload = Buffer.concat(chunks);
      collector.requests.push({ path: request.url!, headers: request.headers });
      collector.payloads.push(payload);
      collector.spans.push(...spansOf(payload));
      collector.answer(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const collector: Collector = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans: [], payloads: [], requests: [],
    answer: (response) => void response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end(),
  };
  return collector;
}

// opentelemetry/proto/trace/v1/trace.proto: ExportTraceServiceRequest → ResourceSpans → ScopeSpans → Span.
function spansOf(payload: Buffer): Span[] {
  return fields(payload).messages(1).flatMap((resourceSpans) => {
    const service = String(attributesOf(resourceSpans.messages(1)[0]!, 1)['service.name']);
    return resourceSpans.messages(2).flatMap((scopeSpans) => scopeSpans.messages(2)).map((span) => ({
      traceId: span.bytes(1).toString('hex'), id: span.bytes(2).toString('hex'), parentId: span.bytes(4).toString('hex'),
      name: span.bytes(5).toString(), kind: Number(span.number(6)), status: Number(span.messages(15)[0]?.number(3) ?? 0n),
      attributes: attributesOf(span, 9), service, startedAt: span.number(7), endedAt: span.number(8),
    }));
  });
}

function attributesOf(holder: Fields, field: number): Record<string, string | number> {
  return Object.fromEntries(holder.messages(field).map((pair) => {
    const value = pair.messages(2)[0]!;
    return [pair.bytes(1).toString(), value.has(1) ? value.bytes(1).toString() : Number(value.number(3))];
  }));
}
