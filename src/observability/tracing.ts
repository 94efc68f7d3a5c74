import { setTimeout as sleep } from 'node:timers/promises';
import { diag, DiagLogLevel } from '@opentelemetry/api';
import { ExportResultCode } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import { ATTR_SERVICE_NAME } from '@opentelemetry/semantic-conventions';
import type { FastifyBaseLogger } from 'fastify';
import fp from 'fastify-plugin';
import type { TracingSettings } from '../config.js';
import { RequestTrace } from './trace.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The request's trace; undefined while there is no collector. */
    trace?: RequestTrace;
  }
}

/** How long a stop waits for the collector to take the last spans. */
const flushMs = 2_000;

/**
 * A server span for every request, exported in batches over OTLP/HTTP (protobuf); `traceId` on its log lines. What is not
 * among the settings (sampler, batch sizes, resource attributes, certificates), the SDK reads from its own `OTEL_…`
 * variables. A collector that is away costs spans, never a request.
 *
 * @param upstream root of the upstream, told in the spans of its calls
 */
export const tracing = fp<TracingSettings & { upstream: string }>(async (app, { upstream, ...settings }) => {
  const provider = createProvider(settings, app.log);
  const made = { tracer: provider.getTracer('authkit-gateway'), upstream: new URL(upstream) };

  app.decorateRequest('trace');
  app.addHook('onRequest', (request, reply, done) => {
    const trace = new RequestTrace(made, request);
    request.trace = trace;
    request.log = reply.log = request.log.child({ traceId: trace.traceId });
    // Not onResponse: it does not run for every answer that its caller did not wait for.
    reply.raw.once('close', () => trace.end(reply));
    done();
  });
  app.addHook('onClose', async () => {
    const flushed = provider.shutdown().then(() => true, () => true);
    if (!await Promise.race([flushed, sleep(flushMs, false, { ref: false })])) app.log.warn('the collector did not take the last spans in time');
  });
}, { name: 'tracing' });

function createProvider({ endpoint, headers, serviceName }: TracingSettings, log: FastifyBaseLogger): BasicTracerProvider {
  const say = (message: string): void => log.warn({ err: message }, 'OpenTelemetry is not set up as asked');
  const nothing = (): void => {};
  // Mistakes in OTEL_… variables show here. Later on the SDK repeats itself with every batch, so it is heard no more.
  diag.setLogger({ error: say, warn: say, info: nothing, debug: nothing, verbose: nothing }, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  try {
    const exporter = reportOutages(new OTLPTraceExporter({ url: `${endpoint}/v1/traces`, headers }), log);
    return new BasicTracerProvider({
      resource: defaultResource().merge(resourceFromAttributes({ [ATTR_SERVICE_NAME]: serviceName })).merge(detectResources({ detectors: [envDetector] })),
      spanProcessors: [new BatchSpanProcessor(exporter)],
    });
  } finally {
    diag.disable();
  }
}

/** Says once that spans are lost, and once that they arrive again. */
function reportOutages(exporter: SpanExporter, log: FastifyBaseLogger): SpanExporter {
  let failing = false;
  return {
    export: (spans, done) => exporter.export(spans, (result) => {
      const failed = result.code !== ExportResultCode.SUCCESS;
      if (failed && !failing) log.warn({ err: result.error }, 'the collector does not take spans: they are lost until it does');
      if (!failed && failing) log.info('the collector takes spans again');
      failing = failed;
      done(result);
    }),
    shutdown: () => exporter.shutdown(),
  };
}
