import java.io.*;
import java.net.*;
import java.util.*;
import java.util.concurrent.ConcurrentHashMap;

import static java.nio.charset.StandardCharsets.UTF_8;

/**
 * The beginning of a chat server. It asks each user for a name, and ends in order.
 * PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
 */
class Server {
    static final Set<Socket> users = ConcurrentHashMap.newKeySet();

    public static void main(String[] words) throws IOException {
        String host = option(words, "--host", "127.0.0.1");
        int port = Integer.parseInt(option(words, "--port", "8080"));
        // TODO: the other options of PROG-1.
        ServerSocket listener = new ServerSocket(port, 128, InetAddress.getByName(host));
        Runtime.getRuntime().addShutdownHook(new Thread(Server::stop)); // Ctrl+C
        System.out.println("Listening on " + host + ":" + listener.getLocalPort()); // PROG-3
        while (true) {
            Socket user = listener.accept();
            new Thread(() -> talk(user)).start();
        }
    }

    static String option(String[] words, String name, String otherwise) {
        int place = Arrays.asList(words).indexOf(name) + 1;
        return 0 < place && place < words.length ? words[place] : otherwise;
    }

    /** Serves one connection until its end. */
    static void talk(Socket user) {
        users.add(user);
        try (user) {
            user.setTcpNoDelay(true);
            send(user, "Enter your screen name: "); // JOIN-1
            var lines = new BufferedReader(new InputStreamReader(user.getInputStream(), UTF_8));
            for (String line; (line = lines.readLine()) != null; ) onLine(user, line);
        } catch (IOException error) {
            // The user has left: no line can be sent.
        } finally {
            users.remove(user);
        }
    }

    /** A line has arrived. TODO: the first line is the name (JOIN-2 to JOIN-4). */
    static void onLine(Socket user, String line) {}

    static void send(Socket user, String text) throws IOException {
        user.getOutputStream().write(text.getBytes(UTF_8));
    }

    /** STOP-1. TODO: send the first line end only if a prompt is pending. */
    static void stop() {
        for (Socket user : users) {
            try {
                send(user, "\nServer is shutting down\n");
                user.shutdownOutput();
            } catch (IOException error) {
                // The user has just left.
            }
        }
        Runtime.getRuntime().halt(0);
    }
}
