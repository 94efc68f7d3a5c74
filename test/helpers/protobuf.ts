/** The fields of a protobuf message, by number: as much of the wire format as reading traces takes. */
export type Fields = {
  has(field: number): boolean;
  /** The last value of a length-delimited field; empty where there is none. */
  bytes(field: number): Buffer;
  /** The last value of a varint or fixed field; 0 where there is none. */
  number(field: number): bigint;
  messages(field: number): Fields[];
};

/** Reads a message; throws where the bytes are none. */
export function fields(message: Buffer): Fields {
  const found = new Map<number, (Buffer | bigint)[]>();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at);
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number): Buffer => {
    if (at + length > message.length) throw new Error('a protobuf field is longer than its message');
    at += length;
    return message.subarray(at - length, at);
  };
  const read = (wireType: number): Buffer | bigint => {
    switch (wireType) {
      case 0: return varint();
      case 1: return take(8).readBigUInt64LE();
      case 2: return take(Number(varint()));
      case 5: return BigInt(take(4).readUInt32LE());
      default: throw new Error(`protobuf wire type ${wireType}`);
    }
  };
  while (at < message.length) {
    const tag = Number(varint());
    const values = found.get(tag >> 3) ?? [];
    found.set(tag >> 3, [...values, read(tag & 7)]);
  }
  const last = (field: number) => found.get(field)?.at(-1);
  return {
    has: (field) => found.has(field),
    bytes: (field) => (last(field) as Buffer | undefined) ?? Buffer.alloc(0),
    number: (field) => (last(field) as bigint | undefined) ?? 0n,
    messages: (field) => (found.get(field) ?? []).map((value) => fields(value as Buffer)),
  };
}
