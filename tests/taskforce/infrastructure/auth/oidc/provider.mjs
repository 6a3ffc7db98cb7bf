// An OpenID provider on this machine. Reads its settings as one line of JSON, prints its issuer, serves until its input
// ends. Tokens by client_credentials, as JWTs, for whichever API the client names as the resource.
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { Provider } from "oidc-provider";

const input = createInterface({ input: process.stdin });
const { port, jwk, client, secret, ttl, claims } = JSON.parse((await input[Symbol.asyncIterator]().next()).value);
input.on("close", () => process.exit(0));
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();

const server = createServer();
await new Promise((listening) => server.listen(port, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  jwks: { keys: [jwk] },
  clients: [
    {
      client_id: client,
      client_secret: secret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: jwk.alg,
    },
  ],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        scope: "",
        audience: resource,
        accessTokenFormat: "jwt",
        accessTokenTTL: ttl,
        jwt: { sign: { alg: jwk.alg } },
      }),
    },
  },
  extraTokenClaims: () => claims,
});
server.on("request", provider.callback());
console.log(JSON.stringify({ issuer }));
