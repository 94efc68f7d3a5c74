const tickMs = 100;

let ticks = 0;
let timer: NodeJS.Timeout | undefined;
/** Who is listened to, as a list linked both ways: a Set that is added to and deleted from with every call leaves a trail of outgrown tables. */
let first: Silence | undefined;

/**
 * Calls `silent` once when nothing was heard for `ms`, or up to a fifth of a second later. One timer serves all: a timer for
 * each short request body costs more than the body.
 */
export class Silence {
  #heardAt = ticks;
  #before: Silence | undefined;
  #after: Silence | undefined;
  #over = false;

  constructor(private readonly ms: number, private readonly silent: () => void) {
    Silence.#listen(this);
  }

  heard(): void {
    this.#heardAt = ticks;
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#before) this.#before.#after = this.#after;
    else first = this.#after;
    if (this.#after) this.#after.#before = this.#before;
    this.#before = undefined;
    this.#after = undefined;
  }

  #check(): void {
    // The tick under way when it was last heard counts for nothing.
    if ((ticks - this.#heardAt - 1) * tickMs < this.ms) return;
    this.end();
    this.silent();
  }

  static #listen(silence: Silence): void {
    silence.#after = first;
    if (first) first.#before = silence;
    first = silence;
    timer ??= setInterval(Silence.#tick, tickMs).unref();
  }

  static #tick(this: void): void {
    ticks += 1;
    for (let silence = first, next: Silence | undefined; silence; silence = next) {
      next = silence.#after;
      silence.#check();
    }
    if (first) return;
    clearInterval(timer);
    timer = undefined;
  }
}
