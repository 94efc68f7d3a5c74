import type { FastifyBaseLogger } from 'fastify';

const methods = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent', 'child'] as const;
type Method = (typeof methods)[number];

/**
 * A request's logger (Fastify's `childLoggerFactory`), made when it is first written to: most requests write nothing but
 * their one line, and a child of pino's costs more than that line.
 */
export function lazyChild(parent: FastifyBaseLogger, bindings: object, options: object): FastifyBaseLogger {
  return new LazyLogger(parent, bindings, options) as unknown as FastifyBaseLogger;
}

class LazyLogger {
  #child: FastifyBaseLogger | undefined;

  constructor(private readonly parent: FastifyBaseLogger, private readonly bindings: object, private readonly options: object) {}

  get written(): FastifyBaseLogger {
    return this.#child ??= this.parent.child(this.bindings, this.options);
  }

  get level(): string {
    return this.written.level;
  }
}

for (const method of methods) {
  Object.defineProperty(LazyLogger.prototype, method, {
    value(this: LazyLogger, ...parameters: never[]) {
      return (this.written as unknown as Record<Method, (...parameters: never[]) => unknown>)[method](...parameters);
    },
  });
}
