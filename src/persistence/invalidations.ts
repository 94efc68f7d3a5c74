/** What changed: an id that subscribers of a topic understand; undefined: anything may have, forget everything. */
export type News = string | undefined;

/**
 * Tells every replica what its caches must forget. Subscribers of the publishing process hear at once, others within a
 * moment; after a gap in which news could have been missed, everyone hears `undefined`.
 */
export type Invalidations = {
  /** Resolves when the news is on its way; call it after the change is committed. `topic` is `[a-z-]+`, `id` at most 1,000 bytes. */
  publish(topic: string, id: string): Promise<void>;
  subscribe(topic: string, listener: (news: News) => void): void;
  /** Begins to hear other replicas. Publishing and local delivery work without it. */
  start(): void;
  /** Whether news of other replicas arrives. */
  connected(): boolean;
  close(): Promise<void>;
};

/** Delivery within this process: all there is on the embedded database, and the local half on Postgres. */
export function localInvalidations(): Invalidations & { deliver(topic: string, news: News): void; deliverAll(): void } {
  const listeners = new Map<string, ((news: News) => void)[]>();
  const deliver = (topic: string, news: News): void => listeners.get(topic)?.forEach((listener) => listener(news));
  return {
    deliver,
    deliverAll: () => [...listeners.keys()].forEach((topic) => deliver(topic, undefined)),
    publish: async (topic, id) => deliver(topic, id),
    subscribe: (topic, listener) => void listeners.set(topic, [...(listeners.get(topic) ?? []), listener]),
    start: () => {},
    connected: () => true,
    close: async () => {},
  };
}
