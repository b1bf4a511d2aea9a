// The table: {name, subject, run(ctx)} for each behaviour. A name is unique over all subjects.

import { acks } from "./subjects/acks.mjs";
import { binary } from "./subjects/binary.mjs";
import { connecting } from "./subjects/connecting.mjs";
import { disconnecting } from "./subjects/disconnecting.mjs";
import { dispatch } from "./subjects/dispatch.mjs";
import { emitting } from "./subjects/emitting.mjs";
import { listeners } from "./subjects/listeners.mjs";
import { middlewares } from "./subjects/middlewares.mjs";
import { namespaces } from "./subjects/namespaces.mjs";
import { recovery } from "./subjects/recovery.mjs";
import { rooms } from "./subjects/rooms.mjs";
import { transports } from "./subjects/transports.mjs";
import { values } from "./subjects/values.mjs";

const subjects = {
  connecting,
  namespaces,
  values,
  binary,
  acks,
  rooms,
  emitting,
  listeners,
  middlewares,
  dispatch,
  disconnecting,
  transports,
  recovery,
};

export const table = Object.entries(subjects).flatMap(([subject, behaviours]) =>
  Object.entries(behaviours).map(([name, run]) => ({ name, subject, run })),
);
