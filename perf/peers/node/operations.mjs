// First bytes of the plain application's messages, and what ends the name of a room.
export const ECHO = "E".charCodeAt();
export const JOIN = "J".charCodeAt();
export const PUBLISH = "P".charCodeAt();
export const PUBLISH_ROOM = "R".charCodeAt();
export const BROADCAST = "B".charCodeAt();
export const NEWLINE = "\n".charCodeAt();
