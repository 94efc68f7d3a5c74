import pg from 'pg';
import { fromSession } from './unavailable.js';

declare module 'pg' {
  interface Client {
    /** The parameters of the startup message (PostgreSQL protocol, "StartupMessage"). */
    getStartupConf(): Record<string, string>;
  }
}

/**
 * The one kind of session this service opens: the pool's, the migrations', the listener's and the locks'.
 *
 * It speaks UTC and ISO dates whatever the server, database or role is set to: `@prisma/adapter-pg` writes instants without
 * an offset and drops the offset when it reads. And losing it never ends the process: an `error` event is always listened to.
 */
export class Session extends pg.Client {
  constructor(config?: string | pg.ClientConfig) {
    super(config);
    // pg-pool takes its own listener off while a client is lent; a FATAL that arrives just then would be uncaught. What the
    // event says is not lost: queries under way, and those that follow, reject with it.
    this.on('error', fromSession);
  }

  override getStartupConf(): Record<string, string> {
    return { ...super.getStartupConf(), TimeZone: 'UTC', DateStyle: 'ISO' };
  }
}
