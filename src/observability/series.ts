import { Counter, type Metric, type Registry } from 'prom-client';

/** Label names and values of one series. */
export type Labels = Readonly<Record<string, string | number>>;
type Naming = { name: string; help: string; registry: Registry };

/** Upper bounds for times of requests, in seconds. */
export const seconds: readonly number[] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** One labelled series of a counter. */
export type CounterSeries = { inc(by?: number): void };
/** One labelled series of a histogram. */
export type HistogramSeries = { observe(value: number): void };

/**
 * A prom-client counter for hot paths. prom-client checks and joins the labels on every increment; a series made here counts
 * on a number, and hands it over when metrics are asked for.
 */
export function counter({ name, help, registry }: Naming, labelNames: string[]): (labels: Labels) => CounterSeries {
  const all: { labels: Labels; pending: number }[] = [];
  new Counter({ name, help, labelNames, registers: [registry], collect() {
    for (const series of all) {
      if (series.pending > 0) this.inc({ ...series.labels }, series.pending);
      series.pending = 0;
    }
  } });
  return (labels) => {
    const series = { labels, pending: 0 };
    all.push(series);
    return { inc: (by = 1) => void (series.pending += by) };
  };
}

/** A histogram for hot paths, in the registry beside prom-client's own. `bounds` are upper bounds, ascending. */
export function histogram({ name, help, registry }: Naming, bounds: readonly number[]): (labels: Labels) => HistogramSeries {
  const all: Series[] = [];
  const metric = {
    name, help, type: 'histogram', aggregator: 'sum',
    get: async () => ({ name, help, type: 'histogram', aggregator: 'sum', values: all.flatMap((series) => series.values(name)) }),
    reset: () => all.forEach((series) => series.reset()),
  };
  // The registry reads no more of a metric than this; its type names prom-client's classes only.
  registry.registerMetric(metric as unknown as Metric);
  return (labels) => {
    const series = new Series(labels, bounds);
    all.push(series);
    return series;
  };
}

/** Calls `make` once for each distinct list of names; for series, whose label values are few. */
export function remember<T>(make: (first: string, second: string, third: string) => T): (first: string, second?: string, third?: string) => T {
  // Nested, because to join the names costs more than to look each of them up.
  const known = new Map<string, Map<string, Map<string, T>>>();
  return (first, second = '', third = '') => {
    let ofFirst = known.get(first);
    if (!ofFirst) known.set(first, ofFirst = new Map());
    let ofSecond = ofFirst.get(second);
    if (!ofSecond) ofFirst.set(second, ofSecond = new Map());
    let found = ofSecond.get(third);
    if (found === undefined) ofSecond.set(third, found = make(first, second, third));
    return found;
  };
}

class Series implements HistogramSeries {
  readonly #inBucket: number[];
  #sum = 0;
  #count = 0;

  constructor(private readonly labels: Labels, private readonly bounds: readonly number[]) {
    this.#inBucket = bounds.map(() => 0);
  }

  observe(value: number): void {
    this.#sum += value;
    this.#count += 1;
    const { bounds } = this;
    for (let i = 0; i < bounds.length; i += 1) {
      if (value > bounds[i]!) continue;
      this.#inBucket[i]! += 1;
      return;
    }
  }

  reset(): void {
    this.#inBucket.fill(0);
    this.#sum = 0;
    this.#count = 0;
  }

  values(name: string): { metricName: string; labels: Labels; value: number }[] {
    let below = 0;
    return [
      ...this.bounds.map((le, i) => ({ metricName: `${name}_bucket`, labels: { ...this.labels, le }, value: below += this.#inBucket[i]! })),
      { metricName: `${name}_bucket`, labels: { ...this.labels, le: '+Inf' }, value: this.#count },
      { metricName: `${name}_sum`, labels: this.labels, value: this.#sum },
      { metricName: `${name}_count`, labels: this.labels, value: this.#count },
    ];
  }
}
