# The gateway's image. Stages: deps → build → prod-deps → runtime (the default), and dev for compose's sandbox profile.
# Reproducible with a builder that rewrites timestamps:
#   docker buildx build --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) --output type=docker,rewrite-timestamp=true .
ARG NODE_IMAGE=node:20.20.2-bookworm-slim

FROM ${NODE_IMAGE} AS base
WORKDIR /app

# Everything, development included; no install script of a dependency runs. Ours generates the Prisma client.
FROM base AS deps
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts
COPY prisma.config.ts ./
COPY prisma ./prisma
COPY scripts/generate-client.mjs ./scripts/
RUN npm run postinstall

FROM deps AS build
COPY tsconfig.json tsconfig.build.json ./
COPY scripts ./scripts
COPY src ./src
RUN npm run build && find dist -name '*.map' -delete

# prisma and typescript are optional peers of @prisma/client: leaving out `dev` alone would still install them.
FROM base AS prod-deps
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --omit=optional --omit=peer --ignore-scripts
COPY scripts/prune-production.mjs ./scripts/
RUN node scripts/prune-production.mjs

# What ships, with one date on every file, so that the same sources give the same layers.
FROM base AS shipped
ARG SOURCE_DATE_EPOCH=0
WORKDIR /shipped
COPY --from=prod-deps /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY prisma/schema.prisma ./prisma/
COPY prisma/migrations ./prisma/migrations
COPY package.json LICENSE ./
RUN find . -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

# The sandbox profile's image: sources and development dependencies. Never published.
FROM deps AS dev
ENV NODE_ENV=development HOST=0.0.0.0
COPY tsconfig.json ./
COPY src ./src
COPY sandbox ./sandbox
USER node
CMD ["node", "--import", "tsx", "src/server.ts"]

FROM base AS runtime
LABEL org.opencontainers.image.title="authkit-gateway" \
      org.opencontainers.image.description="A gateway to Pica: AuthKit tokens, stored connections, a streaming proxy." \
      org.opencontainers.image.licenses="MIT"
# The package managers of the base image are of no use here; /data belongs to the user that runs.
RUN cd /usr/local && rm -rf lib/node_modules bin/npm bin/npx bin/corepack bin/yarn bin/yarnpkg /opt/yarn-* \
 && install --directory --owner=node --group=node --mode=0750 /data
# Files stay root's: the process can read them, and change none.
COPY --from=shipped /shipped ./
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000 DATA_DIR=/data
USER node
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "dist/server.js"]
