// Azure keeps an idle connection for minutes. Azurite closes it after 5 s, and its option for that
// (--blobKeepAliveTimeout) is never read: with stretched latencies every request would open a
// connection, which is another round trip.
const http = require("node:http");
const listen = http.Server.prototype.listen;
http.Server.prototype.listen = function (...args) {
  Object.defineProperty(this, "keepAliveTimeout", { get: () => 120000, set: () => {} });
  return listen.apply(this, args);
};
