import java.io.*;
import java.net.*;
import java.util.Arrays;

/**
 * The beginning of a chat client. It shows what comes, sends what is typed, and ends in order.
 * PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
 */
class Client {
    static volatile boolean typing = true;

    public static void main(String[] words) throws IOException {
        String host = option(words, "--host", "localhost");
        String port = option(words, "--port", "8080");
        // TODO: the other options of PROG-2.
        Thread stop = new Thread(() -> Runtime.getRuntime().halt(0)); // Ctrl+C: CLIENT-2
        Socket server = new Socket();
        try {
            server.connect(new InetSocketAddress(host, Integer.parseInt(port)));
        } catch (IOException error) { // CLIENT-4
            System.err.println("cannot connect to " + host + ":" + port + ": " + error.getMessage());
            System.exit(1);
        }
        Runtime.getRuntime().addShutdownHook(stop);
        server.setTcpNoDelay(true);
        new Thread(() -> sendWhatIsTyped(server)).start();
        copy(server.getInputStream(), System.out); // TODO: CLIENT-6.
        // TODO: the last line decides the exit status (CLIENT-5).
        if (typing) System.err.println("Disconnected");
        System.exit(0);
    }

    static String option(String[] words, String name, String otherwise) {
        int place = Arrays.asList(words).indexOf(name) + 1;
        return 0 < place && place < words.length ? words[place] : otherwise;
    }

    static void sendWhatIsTyped(Socket server) {
        try {
            copy(System.in, server.getOutputStream());
            typing = false;
            server.shutdownOutput(); // CLIENT-3
        } catch (IOException error) {
            // The server has closed the connection; the other thread notices that.
        }
    }

    /** Copies everything at once, incomplete lines and prompts, too. */
    static void copy(InputStream from, OutputStream to) throws IOException {
        byte[] data = new byte[65536];
        for (int count; (count = from.read(data)) > 0; to.flush()) to.write(data, 0, count);
    }
}
